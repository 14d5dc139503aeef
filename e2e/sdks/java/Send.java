import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import io.cloudevents.CloudEventData;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.core.data.BytesCloudEventData;
import io.cloudevents.core.message.Encoding;
import io.cloudevents.jackson.JsonCloudEventData;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.CloudEventSerializer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends events with CloudEvents' SDK for Java, in both modes. */
public class Send {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        List<String> lines = input.lines().collect(Collectors.toList());
        var producers = new EnumMap<Encoding, KafkaProducer<String, CloudEvent>>(Encoding.class);
        for (Encoding mode : List.of(Encoding.STRUCTURED, Encoding.BINARY)) {
            var serializer = new CloudEventSerializer();
            serializer.configure(
                    Map.of(
                            CloudEventSerializer.ENCODING_CONFIG, mode,
                            CloudEventSerializer.EVENT_FORMAT_CONFIG, JsonFormat.CONTENT_TYPE),
                    false);
            Map<String, Object> config = Map.of("bootstrap.servers", arguments[0], "acks", "all");
            producers.put(mode, new KafkaProducer<>(config, new StringSerializer(), serializer));
        }
        for (String text : lines) {
            JsonNode line = JSON.readTree(text);
            var mode = Encoding.valueOf(line.get("mode").asText().toUpperCase(Locale.ROOT));
            producers.get(mode).send(new ProducerRecord<>(arguments[1], event(line))).get();
        }
        producers.values().forEach(KafkaProducer::close);
    }

    static CloudEvent event(JsonNode line) throws Exception {
        JsonNode attributes = line.get("attributes");
        boolean isBytes = line.get("bytes").asBoolean();
        CloudEventData data =
                isBytes
                        ? BytesCloudEventData.wrap(JSON.writeValueAsBytes(line.get("data")))
                        : JsonCloudEventData.wrap(line.get("data"));
        return CloudEventBuilder.v1()
                .withId(attributes.get("id").asText())
                .withSource(URI.create(attributes.get("source").asText()))
                .withType(attributes.get("type").asText())
                .withTime(OffsetDateTime.parse(attributes.get("time").asText()))
                .withSubject(attributes.get("subject").asText())
                .withExtension("partitionkey", attributes.get("partitionkey").asText())
                .withData(attributes.get("datacontenttype").asText(), data)
                .build();
    }
}
