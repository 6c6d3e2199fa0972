package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Over HTTP/1.1, each caller with a connection that is kept.
type overHTTP struct {
	client  *http.Client
	url     string
	body    []byte
	headers http.Header
}

func newHTTP(url string, body []byte, sent []string, callers int) (*overHTTP, error) {
	headers := http.Header{"Content-Type": {"application/json"}}
	for _, header := range sent {
		name, value, found := strings.Cut(header, ": ")
		if !found {
			return nil, fmt.Errorf("not a header: %s", header)
		}
		headers.Set(name, value)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: callers, DisableCompression: true}
	return &overHTTP{&http.Client{Transport: transport}, url, body, headers}, nil
}

func (t *overHTTP) open(ctx context.Context) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(t.body))
	if err != nil {
		return nil, err
	}
	request.Header = t.headers
	response, err := t.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s: %s", response.Status, text)
	}
	return response.Body, nil
}

func (t *overHTTP) call(ctx context.Context) error {
	body, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
}

func (t *overHTTP) stream(ctx context.Context, watch *watch) error {
	body, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	data := make([]byte, 64*1024)
	for {
		count, err := body.Read(data)
		if count > 0 {
			watch.read(data[:count])
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
