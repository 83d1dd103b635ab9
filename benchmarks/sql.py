"""Single statements, each on a connection of its own."""

import asyncpg


async def execute(url: str, statement: str, *arguments: object) -> None:
    """Run one, or a script without arguments."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def value(url: str, statement: str) -> int:
    """The one number that a query answers."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(statement))
    finally:
        await connection.close()
