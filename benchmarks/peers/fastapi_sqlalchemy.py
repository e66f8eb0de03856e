"""The document's application with SQLAlchemy's asynchronous ORM behind each endpoint."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import DateTime, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# As many connections as the others have; the document's echo=True would log each query.
engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"),
    pool_size=10,
    max_overflow=0,
)
async_session = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
http_client = httpx.AsyncClient(timeout=10.0)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


async def get_session() -> AsyncIterator[AsyncSession]:
    async with async_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()
    await http_client.aclose()


app = FastAPI(lifespan=lifespan)


def encode(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "created_at": user.created_at,
    }


@app.get("/")
async def root() -> Any:
    return {"message": "Hello World"}


@app.get("/users/{user_id}")
async def get_user(user_id: int, session: Session) -> Any:
    result = await session.execute(select(User).where(User.id == user_id))
    user = result.scalar_one_or_none()
    if user is None:
        raise HTTPException(status_code=404, detail="User not found")
    return encode(user)


@app.get("/users")
async def list_users(session: Session, limit: int = 10) -> Any:
    users = await session.scalars(select(User).order_by(User.id).limit(limit))
    return {"users": [encode(user) for user in users]}


@app.post("/users", status_code=201)
async def create_user(name: str, email: str, session: Session) -> Any:
    user = User(name=name, email=email)
    session.add(user)
    await session.commit()
    return encode(user)


@app.get("/sync-sleep")
def sync_sleep() -> Any:
    time.sleep(0.1)
    return {"message": "sync"}


@app.get("/async-sleep")
async def async_sleep() -> Any:
    await asyncio.sleep(0.1)
    return {"message": "async"}
