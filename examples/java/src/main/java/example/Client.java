package example;

import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import integrationapi.v1.ChatRequest;
import integrationapi.v1.ChatServiceGrpc;
import integrationapi.v1.ContentPart;
import integrationapi.v1.Credential;
import integrationapi.v1.Endpoint;
import integrationapi.v1.Message;
import integrationapi.v1.ModelOptions;
import integrationapi.v1.StreamChatResponse;
import integrationapi.v1.UserMessage;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A client in Java: one Chat, one StreamChat, and an error with its details.
 *
 * <p>mvn -q compile exec:java -Dexec.args="127.0.0.1:9004 http://127.0.0.1:8000/v1"
 */
public final class Client {
  // A retry is made only where the service invites one: its trailer grpc-retry-pushback-ms is obeyed by this policy.
  private static final Map<String, ?> RETRIES =
      Map.of("methodConfig", List.of(Map.of(
          "name", List.of(Map.of("service", "integration_api.v1.ChatService")),
          "retryPolicy", Map.of("maxAttempts", 4.0, "initialBackoff", "0.1s", "maxBackoff", "2s",
              "backoffMultiplier", 2.0, "retryableStatusCodes", List.of("UNAVAILABLE")))));

  private static ChatRequest request(String baseUrl, String model, String text) {
    return ChatRequest.newBuilder()
        .setProviderId("custom-llm")
        .setCredential(Credential.newBuilder()
            .setEndpoint(Endpoint.newBuilder().setApiCompatibility("openai_compatible").setBaseUrl(baseUrl)))
        .addMessages(Message.newBuilder()
            .setUser(UserMessage.newBuilder().addContent(ContentPart.newBuilder().setText(text))))
        .setModel(ModelOptions.newBuilder().setName(model))
        .build();
  }

  public static void main(String[] args) throws Exception {
    String address = args.length > 0 ? args[0] : "127.0.0.1:9004";
    String baseUrl = args.length > 1 ? args[1] : "http://127.0.0.1:8000/v1";
    String failing = args.length > 2 ? args[2] : "http-error:status=401"; // the model of the call that fails
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address).usePlaintext()
        .defaultServiceConfig(RETRIES).enableRetry()
        .keepAliveTime(20, TimeUnit.SECONDS).keepAliveWithoutCalls(true).build();
    try {
      ChatServiceGrpc.ChatServiceBlockingStub client =
          ChatServiceGrpc.newBlockingStub(channel).withDeadlineAfter(30, TimeUnit.SECONDS);
      System.out.println("answer: "
          + client.chat(request(baseUrl, "echo", "hello from java")).getChoices(0).getMessage().getText());
      client.streamChat(request(baseUrl, "tokens:n=5,gap=10ms", "count")).forEachRemaining(Client::print);
      try {
        client.chat(request(baseUrl, failing, "no"));
      } catch (StatusRuntimeException error) {
        explain(error);
      }
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static void print(StreamChatResponse frame) {
    switch (frame.getEventCase()) {
      case TEXT_DELTA -> System.out.print(frame.getTextDelta().getText() + "|");
      case COMPLETED -> System.out.println("\ntokens: " + frame.getCompleted().getUsage().getOutputTokens());
      default -> { }
    }
  }

  private static void explain(StatusRuntimeException error) throws Exception {
    for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        System.out.println("error: " + Status.fromThrowable(error).getCode() + " " + info.getReason()
            + " fault: " + info.getMetadataOrThrow("fault"));
      }
    }
  }
}
