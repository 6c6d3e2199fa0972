package example;

import com.google.rpc.ErrorInfo;
import com.google.rpc.Help;
import io.grpc.ChannelCredentials;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import integrationapi.v1.ChatRequest;
import integrationapi.v1.ChatServiceGrpc;
import integrationapi.v1.ContentPart;
import integrationapi.v1.Credential;
import integrationapi.v1.Endpoint;
import integrationapi.v1.Message;
import integrationapi.v1.ModelOptions;
import integrationapi.v1.StreamChatResponse;
import integrationapi.v1.UserMessage;
import java.io.File;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A client in Java: one Chat, one StreamChat, one that is cancelled, and an error with what to do about it.
 *
 * <p>mvn -q compile exec:java -Dexec.args="127.0.0.1:9004 http://127.0.0.1:8000/v1 FAILING-MODEL TOKEN ca.pem"
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
    Metadata headers = new Metadata(); // a token says who calls, where the service wants to know
    if (args.length > 3) {
      headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + args[3]);
    }
    ChannelCredentials security = args.length > 4 // the authority of the service's certificate
        ? TlsChannelCredentials.newBuilder().trustManager(new File(args[4])).build()
        : InsecureChannelCredentials.create();
    ManagedChannel channel = Grpc.newChannelBuilder(address, security)
        .defaultServiceConfig(RETRIES).enableRetry()
        .keepAliveTime(20, TimeUnit.SECONDS).keepAliveWithoutCalls(true).build();
    try {
      ChatServiceGrpc.ChatServiceBlockingStub client = ChatServiceGrpc.newBlockingStub(channel)
          .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers))
          .withDeadlineAfter(30, TimeUnit.SECONDS);
      System.out.println("answer: "
          + client.chat(request(baseUrl, "echo", "hello from java")).getChoices(0).getMessage().getText());
      client.streamChat(request(baseUrl, "tokens:n=5,gap=10ms", "count")).forEachRemaining(Client::print);
      int pieces = interrupted(client, request(baseUrl, "tokens:n=10000,gap=20ms", "go on"));
      System.out.println("cancelled after " + pieces + " pieces");
      try {
        client.chat(request(baseUrl, failing, "no"));
      } catch (StatusRuntimeException error) {
        explain(error);
      }
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  /** How many pieces of text came before the call's context was cancelled, which ends the endpoint's work. */
  private static int interrupted(ChatServiceGrpc.ChatServiceBlockingStub client, ChatRequest asked) throws Exception {
    try (Context.CancellableContext call = Context.current().withCancellation()) {
      return call.call(() -> {
        int pieces = 0;
        Iterator<StreamChatResponse> frames = client.streamChat(asked);
        while (pieces < 3) {
          pieces += frames.next().hasTextDelta() ? 1 : 0;
        }
        return pieces;
      });
    }
  }

  private static void print(StreamChatResponse frame) {
    switch (frame.getEventCase()) {
      case TEXT_DELTA -> System.out.print(frame.getTextDelta().getText() + "|");
      case COMPLETED -> System.out.println("\ntokens: " + frame.getCompleted().getUsage().getOutputTokens());
      default -> { }
    }
  }

  /** What an error says beside its code: the reason, who must act, and what to do. */
  private static void explain(StatusRuntimeException error) throws Exception {
    for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        System.out.println("error: " + Status.fromThrowable(error).getCode() + " " + info.getReason()
            + " fault: " + info.getMetadataOrThrow("fault"));
      }
      if (detail.is(Help.class)) {
        System.out.println("what to do: " + detail.unpack(Help.class).getLinks(0).getDescription());
      }
    }
  }
}
