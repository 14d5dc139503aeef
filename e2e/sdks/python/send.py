"""Sends events with CloudEvents' SDK for Python: both of its interfaces, in both modes."""

import json
import sys
from datetime import datetime

from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import kafka as v1_kafka
from cloudevents.v1.http import CloudEvent as V1CloudEvent
from kafka import KafkaProducer


def message(line):
    attributes = line["attributes"]
    data = json.dumps(line["data"]).encode() if line["bytes"] else line["data"]
    mode = line["mode"]
    if mode in ("v1-structured", "v1-binary"):
        event = V1CloudEvent(attributes, data)
        if mode == "v1-structured":
            return v1_kafka.to_structured(event)
        as_they_are = (lambda data: data) if line["bytes"] else None
        return v1_kafka.to_binary(event, data_marshaller=as_they_are)
    time = datetime.fromisoformat(attributes["time"].replace("Z", "+00:00"))
    event = CloudEvent({**attributes, "time": time}, data)
    modes = {"structured": kafka.to_structured, "binary": kafka.to_binary}
    return modes[mode](event, JSONFormat())


def main(brokers, topic):
    producer = KafkaProducer(bootstrap_servers=brokers.split(","), acks="all")
    sent = []
    for line in map(json.loads, sys.stdin):
        made = message(line)
        key = made.key.encode() if isinstance(made.key, str) else made.key
        sent.append(producer.send(topic, made.value, key, headers=list(made.headers.items())))
    for report in sent:
        report.get(timeout=30)


main(*sys.argv[1:])
