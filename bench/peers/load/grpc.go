package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

const service = "/integration_api.v1.ChatService/"

// How a StreamChatResponse with the field text_delta (2) begins. The last one, completed, repeats the whole answer: none of
// that is a token.
const textDelta = 2<<3 | 2

// Messages are bytes, here and there.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	data, found := message.(*[]byte)
	if !found {
		return nil, fmt.Errorf("not bytes: %T", message)
	}
	return mem.BufferSlice{mem.SliceBuffer(*data)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	into, found := message.(*[]byte)
	if !found {
		return fmt.Errorf("not bytes: %T", message)
	}
	*into = data.Materialize()
	return nil
}

// Over gRPC, all callers on one connection, as a client's channel is.
type overGRPC struct {
	connection *grpc.ClientConn
	body       []byte
}

func newGRPC(address string, body []byte) (*overGRPC, error) {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})),
		grpc.WithDisableRetry(),
	)
	if err != nil {
		return nil, err
	}
	return &overGRPC{connection, body}, nil
}

func (t *overGRPC) call(ctx context.Context) error {
	var answer []byte
	return t.connection.Invoke(ctx, service+"Chat", &t.body, &answer)
}

func (t *overGRPC) stream(ctx context.Context, watch *watch) error {
	description := &grpc.StreamDesc{ServerStreams: true}
	frames, err := t.connection.NewStream(ctx, description, service+"StreamChat")
	if err != nil {
		return err
	}
	if err := frames.SendMsg(&t.body); err != nil {
		return err
	}
	if err := frames.CloseSend(); err != nil {
		return err
	}
	var frame []byte
	for {
		err := frames.RecvMsg(&frame)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(frame) > 0 && frame[0] == textDelta {
			watch.read(frame)
		}
	}
}
