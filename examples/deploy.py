"""A deployment that asks for approval, and undoes what it did when it fails or is rejected.

durable run examples/deploy.py --input version=v1 --id deploy-v1
durable approve deploy-v1 --comment "go"          # from another terminal, if it is not asked on this one
"""

from datetime import timedelta

from pydantic import BaseModel

from durable import Context, Query, RetryPolicy, step, workflow


class Database(BaseModel):
    id: str
    version: str


async def drop_database(database: Database) -> None:
    print(f"dropped {database.id}")


@step(retry=RetryPolicy(max_attempts=3), compensate=drop_database)
async def create_database(version: str) -> Database:
    return Database(id=f"db-{version}", version=version)


@step
async def switch_traffic(database: Database) -> str:
    return f"https://example.test/{database.version}"


stage = Query("stage", str)


@workflow(messages=[stage])
async def deploy(ctx: Context, version: str) -> str:
    current = "creating the database"

    @ctx.on(stage)
    def _() -> str:
        return current

    database = await ctx.step(create_database, version)
    current = "waiting for approval"
    decision = await ctx.ask_approval(f"Deploy {version} to production?", key="go", timeout=timedelta(hours=1))
    ctx.log.info("approved by %s", decision.by)
    current = "switching traffic"
    return await ctx.step(switch_traffic, database)
