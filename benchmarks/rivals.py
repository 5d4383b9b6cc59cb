"""The rivals of `make bench PART=serving`: one model behind each server, the way its own tutorial does it.

Each runs in an environment of its own, with the demo's `src` on the path and in the demo's folder.
"""

import json
import sys
from pathlib import Path
from typing import Any

BUNDLE, MODEL = Path("models/bundle.json"), Path("models/model.skops")


class Model:
    """The fitted pipeline, asked by way of a DataFrame, as every server here asks it.

    It is read by skops alone: none of the library's checks slows a rival down.
    """

    def __init__(self) -> None:
        import skops.io
        from flight_delays.features import features
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
        self.features = features
        self.pipeline = skops.io.load(MODEL, trusted=skops.io.get_untrusted_types(file=MODEL))
        self.types = json.loads(BUNDLE.read_text())["dtypes"]

    def predict(self, raw: Any) -> Any:
        """Return a table of predictions for a table of raw rows."""
        import pandas as pd

        table = self.features(raw[list(self.types)].astype(self.types))
        text = table.columns.difference(table.select_dtypes("number").columns)
        table = table.assign(**{name: table[name].astype("object").where(table[name].notna(), None) for name in text})
        chances = self.pipeline.predict_proba(table)
        classes = self.pipeline.classes_
        predictions = pd.DataFrame(chances, columns=[f"p_{name}" for name in classes], index=raw.index)
        predictions.insert(0, "prediction", classes[chances.argmax(axis=1)])
        return predictions

    def answer(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the predictions of each row."""
        import pandas as pd

        return self.predict(pd.DataFrame(rows)).to_dict("records")


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The least that an ASGI application can do: read the body and say it again."""
    if scope["type"] == "lifespan":
        for said in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{said}.complete"})
        return
    body = (await receive())["body"]
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def fastapi() -> Any:
    """Plain FastAPI around scikit-learn."""
    from fastapi import FastAPI

    app, model = FastAPI(), Model()

    @app.post("/predict")
    def predict(row: dict[str, Any]) -> dict[str, Any]:
        return model.answer([row])[0]

    return app


def bento() -> Any:
    """A BentoML service."""
    import bentoml

    class Flights:
        def __init__(self) -> None:
            self.model = Model()

        @bentoml.api
        def predict(self, row: dict) -> dict:
            return self.model.answer([row])[0]

    return bentoml.service(workers=1, traffic={"timeout": 30})(Flights)


def mlserver() -> type:
    """An MLServer runtime; the row comes as one JSON text."""
    from mlserver import MLModel
    from mlserver.codecs import StringCodec
    from mlserver.types import InferenceRequest, InferenceResponse

    class Flights(MLModel):
        async def load(self) -> bool:
            self.model = Model()
            return True

        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            rows = [json.loads(text) for text in StringCodec.decode_input(payload.inputs[0])]
            said = [json.dumps(one) for one in self.model.answer(rows)]
            output = StringCodec.encode_output("answer", said)
            return InferenceResponse(model_name=self.name, outputs=[output])

    return Flights


def __getattr__(name: str) -> Any:
    """What the servers import by name, made where their own library is there."""
    made = {"Bento": bento, "MLServer": mlserver}.get(name)
    if made is None:
        raise AttributeError(name)
    return made()


def save_mlflow(folder: str) -> None:
    """The same as an MLflow model for `mlflow models serve`."""
    import mlflow

    class Flights(mlflow.pyfunc.PythonModel):
        def load_context(self, context: Any) -> None:
            from rivals import Model

            self.model = Model()

        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return self.model.answer(model_input.to_dict("records"))

    mlflow.pyfunc.save_model(folder, python_model=Flights(), pip_requirements=[])


def loop(source: str, target: str) -> None:
    """What people write to score a file: pandas, scikit-learn, a loop."""
    import pandas as pd
    import pyarrow.parquet as pq

    model, parts = Model(), []
    for batch in pq.ParquetFile(source).iter_batches(65_536):
        rows = batch.to_pandas()
        parts.append(model.predict(rows))
    pd.concat(parts).to_parquet(target)


if __name__ == "__main__":
    {"save": save_mlflow, "loop": loop}[sys.argv[1]](*sys.argv[2:])
