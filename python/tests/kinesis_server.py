"""A server with the protocol of Kinesis, as `scripts/kinesis` starts it, and what fills its streams."""

import base64
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "scripts" / "kinesis"
PATIENCE = 120


class Server:
    """It ends when its stdin does."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://"), "scripts/kinesis did not start: it says above what it needs"

    def call(self, action: str, **body: Any) -> dict:
        """A call of the service. The server wants a signature, and does not check it."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"Kinesis_20131202.{action}",
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=tests/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
        }
        request = urllib.request.Request(self.address, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def create(self, stream: str, shards: int = 1) -> None:
        """Makes a stream, and waits until it can be written."""
        self.call("CreateStream", StreamName=stream, ShardCount=shards)
        due = time.monotonic() + PATIENCE
        while self.call("DescribeStreamSummary", StreamName=stream)["StreamDescriptionSummary"]["StreamStatus"] != "ACTIVE":
            assert time.monotonic() < due, "the stream is never active"
            time.sleep(0.02)

    def put(self, stream: str, records: Iterable[str | bytes], shard: int = 0, shards: int = 1) -> list[str]:
        """Puts records into a shard, in their order. Returns their sequence numbers."""
        numbers = []
        for record in records:
            data = base64.b64encode(record.encode() if isinstance(record, str) else record).decode()
            place = str((1 << 128) // shards * shard)
            put = self.call("PutRecord", StreamName=stream, PartitionKey="k", ExplicitHashKey=place, Data=data)
            numbers.append(put["SequenceNumber"])
        return numbers

    def close(self) -> None:
        """Ends the server."""
        self.process.stdin.close()
        self.process.wait(PATIENCE)
