"""The certificates that a DATABASE_URL names, looked at when the service starts."""

import os
import ssl

FILES = ["sslcert", "sslkey", "sslrootcert", "sslcrl", "passfile"]


def check(condition: object, complaint: str) -> None:
    if not condition:
        raise ValueError(complaint)


def check_files(given: dict[str, str]) -> None:
    for name in FILES:
        if (file := given.get(name)) and (name, file) != ("sslrootcert", "system"):
            check(os.path.isfile(file), f"{name} names no file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if (file := os.environ.get("SSLKEYLOGFILE")) and given.get("sslmode") != "disable":
        try:  # Whoever makes a context for a connection opens it.
            context.keylog_filename = file
        except OSError:
            raise ValueError("SSLKEYLOGFILE names a file that cannot be written") from None
    for name in ("sslrootcert", "sslcrl"):
        if (file := given.get(name, "system")) != "system":
            try:
                context.load_verify_locations(file)
            except OSError:  # as `ssl.SSLError` is one
                raise ValueError(f"{name} names a file without certificates to read") from None
    load_certificate(context, given)


def load_certificate(context: ssl.SSLContext, given: dict[str, str]) -> None:
    if file := given.get("sslcert"):
        try:
            # Without a password OpenSSL would ask at the terminal for one.
            context.load_cert_chain(file, given.get("sslkey"), given.get("sslpassword", ""))
        except OSError:
            raise ValueError("sslcert and sslkey cannot be loaded together") from None


def take_context(given: dict[str, str]) -> ssl.SSLContext | None:
    """Trust in the system's certificates, where they are asked for or none are named.

    asyncpg knows neither `sslrootcert=system`, nor `channel_binding=require`: with that the host is
    verified, which is as safe from whoever stands in between.
    """
    root = given.get("sslrootcert", "system")
    if given.get("channel_binding") == "require":
        del given["channel_binding"]
        given["sslmode"] = "verify-full"
    if given.get("sslrootcert") == "system":
        given["sslmode"] = "verify-full"
    check(given.get("sslmode") != "verify-ca" or root != "system", "sslrootcert is missing")
    if given.get("sslmode") != "verify-full" or root != "system":
        return None
    check("sslcrl" not in given, "sslcrl needs sslrootcert")
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    # asyncpg reads these only where it makes the context.
    if version := given.pop("ssl_min_protocol_version", ""):
        context.minimum_version = ssl.TLSVersion[version.replace(".", "_")]
    if version := given.pop("ssl_max_protocol_version", ""):
        context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    load_certificate(context, given)
    for name in ("sslrootcert", "sslcert", "sslkey", "sslpassword"):
        given.pop(name, None)
    return context
