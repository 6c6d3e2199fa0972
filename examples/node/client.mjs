// A client in Node: one Chat, one StreamChat, and an error with its details.
//
//   node client.mjs --address 127.0.0.1:9004 --base-url http://127.0.0.1:8000/v1
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
const client = new api.ChatService(values.address, grpc.credentials.createInsecure(), {
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
const deadline = () => ({ deadline: Date.now() + 30_000 });
const chat = (asked) =>
  new Promise((resolve, reject) =>
    client.Chat(asked, deadline(), (error, answer) => (error ? reject(error) : resolve(answer))),
  );

// Node has no helper for rich errors: the details are a google.rpc.Status in a trailer, read with protobufjs.
const rpcTypes = new protobuf.Root();
rpcTypes.resolvePath = (_, file) => (file.startsWith("google/protobuf/") ? file : `${root}third_party/${file}`);
rpcTypes.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"]);

function errorInfo(error) {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  const { details } = rpcTypes.lookupType("google.rpc.Status").decode(packed);
  const found = details.find((detail) => detail.type_url.endsWith("google.rpc.ErrorInfo"));
  return rpcTypes.lookupType("google.rpc.ErrorInfo").decode(found.value);
}

const answer = await chat(request("echo", "hello from node"));
console.log("answer:", answer.choices[0].message.text);

for await (const frame of client.StreamChat(request("tokens:n=5,gap=10ms", "count"), deadline())) {
  if (frame.event === "textDelta") process.stdout.write(`${frame.textDelta.text}|`);
  if (frame.event === "completed") console.log("\ntokens:", frame.completed.usage.outputTokens);
}

try {
  await chat(request(values.failing, "no"));
} catch (error) {
  const info = errorInfo(error);
  console.log("error:", grpc.status[error.code], info.reason, "fault:", info.metadata.fault);
}
client.close();
