#!/usr/bin/env python3
"""A consumer of a plant's events in Kafka.

Prints a line for each record: topic, partition, key, device, spool, seq, type.

    pip install -r requirements.txt
    python consumer.py --bootstrap localhost:9092 --from-beginning --until-idle

What a consumer must do is in docs/kafka.md; the places in this file are marked with MUST.
"""

import argparse
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

TOPICS = ["vds.results.v1", "vds.job-events.v1", "vds.device-state.v1"]
RESTORED = "vds.store.restored.v1"


class Highest:
    """Only for `--uncommitted`: drops what was seen before.

    With read_committed there is nothing to drop. Without it records of aborted transactions arrive, and the same
    events again after them: of each (plant, device, spool) a partition then counts from its highest seq on.
    """

    def __init__(self):
        self.seen = {}

    def is_new(self, partition, headers):
        key = (partition, headers.get("plant"), headers.get("device"), headers.get("spool"))
        seq = int(headers["seq"])
        if seq <= self.seen.get(key, 0):
            return False
        self.seen[key] = seq
        return True


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", required=True, help="HOST:PORT[,HOST:PORT]")
    parser.add_argument("--group", default="vds-example-python", help="consumer group; its offsets are kept in Kafka")
    parser.add_argument("--from-beginning", action="store_true", help="ignore the group's offsets, read everything")
    parser.add_argument("--until-idle", action="store_true", help="end when every partition is read to its end")
    parser.add_argument("--uncommitted", action="store_true", help="read_uncommitted: see class Highest")
    return parser.parse_args()


def consumer(args):
    return Consumer(
        {
            "bootstrap.servers": args.bootstrap,
            "group.id": args.group,
            # MUST: without it the records of a relay's aborted transactions are read as well.
            "isolation.level": "read_uncommitted" if args.uncommitted else "read_committed",
            # Offsets are committed below, after a record was dealt with. Better: store them with your own data, in
            # one transaction, and seek to them at the start: then nothing is done twice after a crash.
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )


def partitions(client):
    """Every partition of the topics, from its begin."""
    found = []
    for topic in TOPICS:
        metadata = client.list_topics(topic, timeout=30).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        found += [TopicPartition(topic, number, OFFSET_BEGINNING) for number in metadata.partitions]
    return found


def restored(message, headers):
    """MUST: a plant's database was put back from a backup.

    Events of benches are not touched: each is still in Kafka once. What was made by the server itself, after the
    backup was taken (decisions, states), may be contradicted by what follows: what you derived from it for this
    plant since then is to be asked for again from the plant's API.
    """
    data = json.loads(message.value())["data"]
    print(f"plant {headers['plant']} was restored, database life {data['store_generation']}", file=sys.stderr)


def main():
    args = arguments()
    client = consumer(args)
    open_partitions = None
    if args.from_beginning:
        assigned = partitions(client)
        client.assign(assigned)
        open_partitions = {(part.topic, part.partition) for part in assigned}
    else:
        client.subscribe(TOPICS)
    highest = Highest()
    try:
        while open_partitions is None or open_partitions or not args.until_idle:
            message = client.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                if open_partitions is None:
                    open_partitions = {(part.topic, part.partition) for part in client.assignment()}
                open_partitions.discard((message.topic(), message.partition()))
                continue
            if error is not None:
                raise KafkaException(error)
            handle(message, highest, args)
            if not args.from_beginning:
                client.commit(message=message, asynchronous=True)
    finally:
        client.close()


def handle(message, highest, args):
    headers = {name: value.decode() for name, value in message.headers() or []}
    if headers.get("type") == RESTORED:
        restored(message, headers)
        key = device = spool = seq = "-"
    else:
        place = (message.topic(), message.partition())
        if args.uncommitted and not highest.is_new(place, headers):
            return
        key = message.key().decode()
        device, spool, seq = headers["device"], headers["spool"], headers["seq"]
    columns = [message.topic(), str(message.partition()), key, device, spool, seq, headers.get("type", "-")]
    print("\t".join(columns), flush=True)


if __name__ == "__main__":
    main()
