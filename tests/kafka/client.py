# A Kafka client in Python, for clients.rs: it sends three records, or prints the records of topics.
#   client.py send BROKERS plain|idempotent|transactional CODEC TOPIC
#   client.py read BROKERS N TOPIC...
import sys

from confluent_kafka import Consumer, Producer, TopicPartition


def send(brokers, how, codec, topic):
    settings = {"bootstrap.servers": brokers, "compression.type": codec, "enable.idempotence": how != "plain"}
    if how == "transactional":
        settings["transactional.id"] = topic
    producer = Producer(settings)

    def put(**record):
        producer.produce(topic, partition=0, **record)

    if how == "transactional":
        producer.init_transactions(60)
        producer.begin_transaction()
        put(value="aborted")
        producer.flush()
        producer.abort_transaction(60)
        producer.begin_transaction()
    headers = [("trace", b"1"), ("trace", b"\xff\x00"), ("none", None)]
    put(key="k", value="ä" * 1000, timestamp=1700000000001, headers=headers)
    put(value="", timestamp=1700000000002)
    put(key="gone", timestamp=1700000000003)
    if how == "transactional":
        producer.commit_transaction(60)
    assert producer.flush(60) == 0, "records were not delivered"


def read(brokers, n, *topics):
    for topic in topics:
        consumer = Consumer({"bootstrap.servers": brokers, "group.id": "client.py"})
        consumer.assign([TopicPartition(topic, 0, 0)])
        for _ in range(int(n)):
            message = consumer.poll(60)
            assert message is not None and message.error() is None, message and message.error()
            print(message.value().decode())
        consumer.close()


{"send": send, "read": read}[sys.argv[1]](*sys.argv[2:])
