"""The receiver inside an application of your own.

    uvicorn in_your_fastapi:app

It takes callbacks at /payments/callbacks/{source} and runs the handlers in the same process. To leave the handlers
to `receiver work payments:receiver`, pass `lambda app: receiver.lifespan(app, work=False)` as the lifespan.
"""

from fastapi import FastAPI
from payments import receiver

app = FastAPI(lifespan=receiver.lifespan)
app.mount("/payments", receiver)


@app.get("/orders")
async def orders() -> list[str]:
    """A route of your own."""
    return []
