// A client in Go: one Chat, one StreamChat, and an error with its details.
//
//	go run . -address 127.0.0.1:9004 -base-url http://127.0.0.1:8000/v1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	api "integration-api/gen/go/integration_api/v1"
)

// A retry is made only where the service invites one: its trailer grpc-retry-pushback-ms is obeyed by this policy.
const serviceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{
		"name": [{"service": "integration_api.v1.ChatService"}],
		"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]}
	}]
}`

func request(baseURL, model, text string) *api.ChatRequest {
	return &api.ChatRequest{
		ProviderId: "custom-llm",
		Credential: &api.Credential{Source: &api.Credential_Endpoint{Endpoint: &api.Endpoint{
			ApiCompatibility: "openai_compatible", BaseUrl: baseURL}}},
		Messages: []*api.Message{{Role: &api.Message_User{User: &api.UserMessage{
			Content: []*api.ContentPart{{Part: &api.ContentPart_Text{Text: text}}}}}}},
		Model: &api.ModelOptions{Name: proto.String(model)},
	}
}

func stream(ctx context.Context, client api.ChatServiceClient, asked *api.ChatRequest) error {
	frames, err := client.StreamChat(ctx, asked)
	if err != nil {
		return err
	}
	for {
		frame, err := frames.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch event := frame.Event.(type) {
		case *api.StreamChatResponse_TextDelta:
			fmt.Print(event.TextDelta.Text, "|")
		case *api.StreamChatResponse_Completed:
			fmt.Println("\ntokens:", event.Completed.Usage.GetOutputTokens())
		}
	}
}

// explain prints what an error says beside its code: the reason, and who must act.
func explain(err error) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			fmt.Println("error:", status.Code(err), info.Reason, "fault:", info.Metadata["fault"])
		}
	}
}

func main() {
	address := flag.String("address", "127.0.0.1:9004", "the service")
	baseURL := flag.String("base-url", "http://127.0.0.1:8000/v1", "the endpoint")
	failing := flag.String("failing", "http-error:status=401", "the model of the call that fails")
	flag.Parse()
	connection, err := grpc.NewClient(*address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := api.NewChatServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	answer, err := client.Chat(ctx, request(*baseURL, "echo", "hello from go"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("answer:", answer.Choices[0].Message.Text)
	if err := stream(ctx, client, request(*baseURL, "tokens:n=5,gap=10ms", "count")); err != nil {
		log.Fatal(err)
	}
	if _, err := client.Chat(ctx, request(*baseURL, *failing, "no")); err != nil {
		explain(err)
	}
}
