// A client in Node: one Chat, one StreamChat, one that is cancelled, and an error with what to do about it.
//
//   node client.mjs --address 127.0.0.1:9004 --base-url http://127.0.0.1:8000/v1 [--token TOKEN] [--ca ca.pem]
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import protobuf from "protobufjs";

const { values } = parseArgs({
  options: {
    address: { type: "string", default: "127.0.0.1:9004" },
    "base-url": { type: "string", default: "http://127.0.0.1:8000/v1" },
    failing: { type: "string", default: "http-error:status=401" }, // the model of the call that fails
    token: { type: "string", default: "" }, // says who calls, where the service wants to know
    ca: { type: "string" }, // the authority of the service's certificate; without it no TLS
  },
});
const root = fileURLToPath(new URL("../../", import.meta.url));
const definition = loader.loadSync(
  "integration_api/v1/chat_service.proto",
  { includeDirs: [`${root}protos`], longs: Number, enums: String, oneofs: true },
);
const api = grpc.loadPackageDefinition(definition).integration_api.v1;

// A retry is made only where the service invites one: its trailer grpc-retry-pushback-ms is obeyed by this policy.
const retries = {
  methodConfig: [
    {
      name: [{ service: "integration_api.v1.ChatService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};
const security = values.ca
  ? grpc.credentials.createSsl(readFileSync(values.ca))
  : grpc.credentials.createInsecure();
const client = new api.ChatService(values.address, security, {
  "grpc.service_config": JSON.stringify(retries),
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_permit_without_calls": 1,
});

// The typed fields: a plain object in a Struct's place would arrive empty.
const request = (model, text) => ({
  providerId: "custom-llm",
  credential: { endpoint: { apiCompatibility: "openai_compatible", baseUrl: values["base-url"] } },
  messages: [{ user: { content: [{ text }] } }],
  model: { name: model },
});
const metadata = new grpc.Metadata();
if (values.token) metadata.set("authorization", `Bearer ${values.token}`);
const deadline = () => ({ deadline: Date.now() + 30_000 });
const chat = (asked) =>
  new Promise((resolve, reject) =>
    client.Chat(asked, metadata, deadline(), (error, answer) => (error ? reject(error) : resolve(answer))),
  );
const streamChat = (asked) => client.StreamChat(asked, metadata, deadline());

// Node has no helper for rich errors: the details are a google.rpc.Status in a trailer, read with protobufjs.
const rpcTypes = new protobuf.Root();
rpcTypes.resolvePath = (_, file) => (file.startsWith("google/protobuf/") ? file : `${root}third_party/${file}`);
rpcTypes.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"]);

// What an error says beside its code: the reason, who must act, and what to do.
function explain(error) {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  const { details } = rpcTypes.lookupType("google.rpc.Status").decode(packed);
  const read = (type) =>
    rpcTypes.lookupType(type).decode(details.find((detail) => detail.type_url.endsWith(type)).value);
  const info = read("google.rpc.ErrorInfo");
  console.log("error:", grpc.status[error.code], info.reason, "fault:", info.metadata.fault);
  console.log("what to do:", read("google.rpc.Help").links[0].description);
}

const answer = await chat(request("echo", "hello from node"));
console.log("answer:", answer.choices[0].message.text);

for await (const frame of streamChat(request("tokens:n=5,gap=10ms", "count"))) {
  if (frame.event === "textDelta") process.stdout.write(`${frame.textDelta.text}|`);
  if (frame.event === "completed") console.log("\ntokens:", frame.completed.usage.outputTokens);
}

// Leaving the loop is not enough: it is `cancel` that ends the call, and the endpoint's work.
const call = streamChat(request("tokens:n=10000,gap=20ms", "go on"));
let pieces = 0;
for await (const frame of call) {
  if (frame.event === "textDelta") pieces += 1;
  if (pieces === 3) break;
}
call.cancel();
console.log("cancelled after", pieces, "pieces");

try {
  await chat(request(values.failing, "no"));
} catch (error) {
  explain(error);
}
client.close();
