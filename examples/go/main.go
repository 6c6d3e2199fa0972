// A client in Go: one Chat, one StreamChat, one that is cancelled, and an error with what to do about it.
//
//	go run . -address 127.0.0.1:9004 -base-url http://127.0.0.1:8000/v1 [-token TOKEN] [-ca ca.pem]
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
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
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

// interrupted tells how many pieces of text came before the call was cancelled, which ends the endpoint's work.
func interrupted(ctx context.Context, client api.ChatServiceClient, asked *api.ChatRequest) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames, err := client.StreamChat(ctx, asked)
	if err != nil {
		return 0, err
	}
	pieces := 0
	for pieces < 3 {
		frame, err := frames.Recv()
		if err != nil {
			return pieces, err
		}
		if frame.GetTextDelta() != nil {
			pieces++
		}
	}
	return pieces, nil
}

// explain prints what an error says beside its code: the reason, who must act, and what to do.
func explain(err error) {
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Println("error:", status.Code(err), detail.Reason, "fault:", detail.Metadata["fault"])
		case *errdetails.Help:
			fmt.Println("what to do:", detail.Links[0].Description)
		}
	}
}

// security is TLS with this authority, or plain text where none is named.
func security(authority string) (credentials.TransportCredentials, error) {
	if authority == "" {
		return insecure.NewCredentials(), nil
	}
	return credentials.NewClientTLSFromFile(authority, "")
}

func main() {
	address := flag.String("address", "127.0.0.1:9004", "the service")
	baseURL := flag.String("base-url", "http://127.0.0.1:8000/v1", "the endpoint")
	failing := flag.String("failing", "http-error:status=401", "the model of the call that fails")
	token := flag.String("token", "", "says who calls, where the service wants to know")
	authority := flag.String("ca", "", "the authority of the service's certificate; without it no TLS")
	flag.Parse()
	transport, err := security(*authority)
	if err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.NewClient(*address,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := api.NewChatServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if *token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+*token)
	}

	answer, err := client.Chat(ctx, request(*baseURL, "echo", "hello from go"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("answer:", answer.Choices[0].Message.Text)
	if err := stream(ctx, client, request(*baseURL, "tokens:n=5,gap=10ms", "count")); err != nil {
		log.Fatal(err)
	}
	pieces, err := interrupted(ctx, client, request(*baseURL, "tokens:n=10000,gap=20ms", "go on"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("cancelled after", pieces, "pieces")
	if _, err := client.Chat(ctx, request(*baseURL, *failing, "no")); err != nil {
		explain(err)
	}
}
