// Sends three records with the Java client of Kafka, for clients.rs. Arguments: BROKERS plain|idempotent|transactional CODEC TOPIC

import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

class Client {
    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static ProducerRecord<byte[], byte[]> record(String topic, long time, String key, String value) {
        return new ProducerRecord<>(topic, 0, time, bytes(key), bytes(value));
    }

    public static void main(String[] args) throws Exception {
        var topic = args[3];
        var transactional = args[1].equals("transactional");
        var settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("compression.type", args[2]);
        settings.put("enable.idempotence", Boolean.toString(!args[1].equals("plain")));
        if (transactional) settings.put("transactional.id", topic);
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            if (transactional) {
                producer.initTransactions();
                producer.beginTransaction();
                producer.send(record(topic, 1700000000000L, null, "aborted")).get();
                producer.abortTransaction();
                producer.beginTransaction();
            }
            var first = record(topic, 1700000000001L, "k", "ä".repeat(1000));
            first.headers().add("trace", bytes("1")).add("trace", new byte[] {(byte) 0xff, 0}).add("none", null);
            producer.send(first);
            producer.send(record(topic, 1700000000002L, null, ""));
            producer.send(record(topic, 1700000000003L, "gone", null));
            if (transactional) producer.commitTransaction();
        }
    }
}
