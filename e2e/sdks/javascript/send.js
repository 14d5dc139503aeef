// Sends events with CloudEvents' SDK for JavaScript, in both modes.
import { CloudEvent, Kafka as binding } from 'cloudevents';
import { Kafka, logLevel } from 'kafkajs';
import { text } from 'node:stream/consumers';

const [brokers, topic] = process.argv.slice(2);
const lines = (await text(process.stdin)).trim().split('\n').map((line) => JSON.parse(line));

const messages = lines.map(({ mode, bytes, attributes, data }) => {
  const content = bytes ? Buffer.from(JSON.stringify(data)) : data;
  const { key, value, headers } = binding[mode](new CloudEvent({ ...attributes, data: content }));
  // The SDK leaves it to the caller to write the value, and has headers without a value, which kafkajs does not take.
  const given = Object.entries(headers).filter(([, content]) => content !== undefined);
  const isText = typeof value === 'string' || Buffer.isBuffer(value);
  return { key, value: isText ? value : JSON.stringify(value), headers: Object.fromEntries(given) };
});

const kafka = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.ERROR });
const producer = kafka.producer();
await producer.connect();
await producer.send({ topic, acks: -1, messages });
await producer.disconnect();
