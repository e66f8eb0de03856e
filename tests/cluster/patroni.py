"""Three PostgreSQL under Patroni, with etcd, behind haproxy: Debian's packages, on loopback."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from faults.postgres import USER, make_folder
from serving import free_port

PROGRAMS = ["patroni", "etcd", "haproxy"]
NAMES = ["one", "two", "three"]
TIMEOUT = 90.0  # seconds
HAPROXY = """
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
listen primary
    bind 127.0.0.1:{port}
    option httpchk GET /primary
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
"""


class Cluster:
    """It promises that no acknowledged write is lost: one standby is synchronous."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {name: free_port() for name in [*NAMES, "haproxy"]}
        self.apis = {name: free_port() for name in NAMES}
        clients, peers = free_port(), free_port()
        own, other = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
        options = [f"--listen-client-urls={own}", f"--advertise-client-urls={own}"]
        options += [f"--listen-peer-urls={other}", f"--initial-advertise-peer-urls={other}"]
        options += [f"--initial-cluster=default={other}", f"--data-dir={folder}/etcd"]
        # Debian's Patroni may never notice by etcd's API v3 that what it remembers is old:
        # https://github.com/patroni/patroni/pull/2783
        options += ["--enable-v2=true"]
        self.etcd = f"127.0.0.1:{clients}"
        self.start("etcd", "etcd", *options)
        for name in NAMES:
            (folder / f"{name}.yml").write_text(yaml.safe_dump(self.configure(name)))
            self.start(name, "patroni", f"{folder}/{name}.yml")
        servers = [
            f"    server {name} 127.0.0.1:{self.ports[name]} check port {self.apis[name]}\n"
            for name in NAMES
        ]
        text = HAPROXY.format(port=self.ports["haproxy"]) + "".join(servers)
        (folder / "haproxy.cfg").write_text(text)
        self.start("haproxy", "haproxy", "-db", "-f", f"{folder}/haproxy.cfg")

    def configure(self, name: str) -> dict[str, Any]:
        api, port = f"127.0.0.1:{self.apis[name]}", f"127.0.0.1:{self.ports[name]}"
        [programs, *_] = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        shared = {
            "ttl": 20,  # seconds, the least that Patroni takes
            "loop_wait": 2,
            "retry_timeout": 5,
            "synchronous_mode": True,
            "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 60}},
        }
        return {
            "scope": "test",
            "name": name,
            "restapi": {"listen": api, "connect_address": api},
            "etcd": {"host": self.etcd},
            "bootstrap": {"dcs": shared, "initdb": [{"auth": "trust"}, {"encoding": "UTF8"}]},
            "postgresql": {
                "listen": port,
                "connect_address": port,
                "data_dir": f"{self.folder}/{name}",
                "bin_dir": str(programs),
                "pgpass": f"{self.folder}/{name}.pgpass",
                "pg_hba": [
                    "host all all 127.0.0.1/32 trust",
                    "host replication all 127.0.0.1/32 trust",
                ],
                "authentication": {
                    role: {"username": "postgres", "password": "none"}
                    for role in ("superuser", "replication")
                },
                "parameters": {"unix_socket_directories": ""},
            },
        }

    def start(self, name: str, *command: str) -> None:
        path = f"{os.environ['PATH']}:/usr/sbin"
        variables = {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8"}
        if name in self.processes:
            command = tuple(str(word) for word in self.processes[name].args)  # type: ignore[union-attr]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, user=USER, cwd=self.folder, env=variables, stdout=log, stderr=log
            )

    def ask(self) -> dict[str, str]:
        """The members' roles, where they run, as one that answers sees them."""
        for port in self.apis.values():
            try:
                members = httpx.get(f"http://127.0.0.1:{port}/cluster", timeout=1).json()["members"]
            except (httpx.HTTPError, ValueError, KeyError):
                continue
            running = ("running", "streaming")
            return {each["name"]: each["role"] for each in members if each["state"] in running}
        return {}

    def find(self, role: str) -> str:
        """The name of the first that has it, or nothing."""
        return next((name for name, each in self.ask().items() if each == role), "")

    def wait_until_whole(self) -> str:
        """Until all are there, one as the synchronous standby; the leader's name."""
        deadline = time.monotonic() + TIMEOUT
        while sorted(self.ask().values()) != ["leader", "replica", "sync_standby"]:
            logs = [(self.folder / f"{name}.log").read_text()[-2000:] for name in NAMES]
            assert time.monotonic() < deadline, "\n\n".join([str(self.ask()), *logs])
            time.sleep(0.2)
        return self.find("leader")

    def wait_for_another(self, old: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while self.find("leader") in {old, ""}:
            assert time.monotonic() < deadline, self.ask()
            time.sleep(0.1)

    def signal(self, name: str, number: int) -> None:
        """To Patroni and to its PostgreSQL, as where their machine is gone."""
        patroni = psutil.Process(self.processes[name].pid)
        pid = int((self.folder / name / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
        for process in [patroni, server, *server.children()]:
            with suppress(psutil.NoSuchProcess):  # Children may have ended with their parent.
                process.send_signal(number)

    def kill(self, name: str) -> None:
        self.signal(name, signal.SIGKILL)

    def freeze(self, name: str) -> None:
        self.signal(name, signal.SIGSTOP)

    def switch(self, name: str) -> None:
        body = {"leader": name, "candidate": self.find("sync_standby")}
        url = f"http://127.0.0.1:{self.apis[name]}/switchover"
        answer = httpx.post(url, json=body, timeout=60)
        assert answer.status_code == 200, answer.text

    def mend(self, name: str) -> None:
        """Whatever was done to it."""
        if self.processes[name].poll() is None:
            self.signal(name, signal.SIGCONT)
        else:
            self.start(name)

    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.ports['haproxy']}/postgres"

    def hosts_url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{self.ports[name]}" for name in NAMES)
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=primary"

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(20)
        # Those of PostgreSQL that a Patroni had started, or was starting when it was killed.
        while left := self.find_processes():
            for each in left:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            psutil.wait_procs(left, 20)

    def find_processes(self) -> list[psutil.Process]:
        """All that run in the folder, or below it."""
        return [
            each
            for each in psutil.process_iter(["cwd"])
            if Path(each.info["cwd"] or "/").is_relative_to(self.folder)
        ]


@contextmanager
def run_cluster() -> Iterator[Cluster]:
    with make_folder() as folder:
        cluster = Cluster(folder)
        try:
            cluster.wait_until_whole()
            yield cluster
        finally:
            cluster.stop()
            time.sleep(0.5)
