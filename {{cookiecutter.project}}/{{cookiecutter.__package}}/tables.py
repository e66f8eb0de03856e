"""The tables, once: for the migrations, for the ORM, and as the reference for SQL."""

import sqlalchemy as sa
from sqlalchemy import Column, Identity, MetaData, Table
from sqlalchemy.orm import DeclarativeBase, Mapped

# The newest revision in migrations/versions that this code needs: see /readyz.
REVISION = "0001"

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", sa.BigInteger, Identity(always=True), primary_key=True),
    Column("name", sa.Text, nullable=False),
    Column("email", sa.Text, nullable=False, unique=True),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)

posts = Table(
    "posts",
    metadata,
    Column("id", sa.BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", sa.ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("title", sa.Text, nullable=False),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)


class Base(DeclarativeBase):
    metadata = metadata


class User(Base):
    __table__ = users

    id: Mapped[int]
    name: Mapped[str]
    email: Mapped[str]
