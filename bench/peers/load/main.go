// Loads one gateway over gRPC or HTTP and prints what it saw as JSON.
//
//	load -kind http -address 127.0.0.1:8080 -body body.json -callers 16 -seconds 3 [-stream]
//
// Streams that run when the time is up are cut, and count with the tokens that they brought; calls are waited for.
//
// Rule: it must not be the limit, and must cost the same for both kinds. Requests are bytes that were made before, answers
// are counted and not parsed: a token is the word " token", which the endpoint sends. It works in a closed loop: each caller
// makes its next call when the last one has ended.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

var token = []byte(" token")

// What one caller saw. Times are in milliseconds.
type seen struct {
	calls, failed, tokens, steady, reads int
	latencies, firsts, gaps              []float64
	fault                                string
}

// One call in a stream of answers: when it began, and when tokens came.
type watch struct {
	seen        *seen
	began, last time.Time
	steady      time.Time // from when on all callers work
	tail        []byte
}

// The bytes of one read: of several tokens in one read the later ones came without a gap.
func (w *watch) read(data []byte) {
	now := time.Now()
	w.seen.reads++
	found := bytes.Count(data, token)
	if len(w.tail) > 0 { // a word that two reads share
		edge := append(w.tail, data[:min(len(data), len(token)-1)]...)
		found += bytes.Count(edge, token)
	}
	w.tail = append(w.tail[:0], data[max(0, len(data)-len(token)+1):]...)
	for range found {
		if w.last.IsZero() {
			w.seen.firsts = append(w.seen.firsts, milliseconds(now.Sub(w.began)))
		} else {
			w.seen.gaps = append(w.seen.gaps, milliseconds(now.Sub(w.last)))
		}
		w.last = now
		w.seen.tokens++
		if now.After(w.steady) {
			w.seen.steady++
		}
	}
}

func milliseconds(duration time.Duration) float64 { return float64(duration.Microseconds()) / 1000 }

// Who can be called: over gRPC or HTTP.
type target interface {
	call(ctx context.Context) error
	stream(ctx context.Context, watch *watch) error
}

type headers []string

func (h *headers) String() string { return strings.Join(*h, ", ") }
func (h *headers) Set(value string) error {
	*h = append(*h, value)
	return nil
}

func main() {
	log.SetFlags(0)
	var sent headers
	kind := flag.String("kind", "http", "grpc or http")
	address := flag.String("address", "", "host:port")
	path := flag.String("path", "/v1/chat/completions", "path of the HTTP request")
	body := flag.String("body", "", "file with the request")
	callers := flag.Int("callers", 1, "callers at once")
	seconds := flag.Float64("seconds", 3, "time in which calls begin")
	stream := flag.Bool("stream", false, "streams instead of calls")
	spread := flag.Float64("spread", 0, "seconds over which the callers begin")
	flag.Var(&sent, "header", "a header of the HTTP request, name: value")
	flag.Parse()

	request, err := os.ReadFile(*body)
	if err != nil {
		log.Fatal(err)
	}
	var to target
	if *kind == "grpc" {
		to, err = newGRPC(*address, request)
	} else {
		to, err = newHTTP("http://"+*address+*path, request, sent, *callers)
	}
	if err != nil {
		log.Fatal(err)
	}
	begun, cpu := time.Now(), cpuSeconds()
	each := run(to, *callers, *seconds, *spread, *stream)
	report(each, time.Since(begun).Seconds(), *spread, cpuSeconds()-cpu)
}

func run(to target, callers int, seconds, spread float64, stream bool) []*seen {
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	steady := time.Now().Add(time.Duration(spread * float64(time.Second)))
	limit := end
	if !stream {
		limit = end.Add(time.Minute)
	}
	// Not a deadline: gRPC would send it, and be told of its end a moment before it is here.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer time.AfterFunc(time.Until(limit), cancel).Stop()
	each := make([]*seen, callers)
	var working sync.WaitGroup
	for number := range callers {
		each[number] = &seen{}
		wait := time.Duration(spread * float64(time.Second) * float64(number) / float64(callers))
		working.Go(func() {
			time.Sleep(wait)
			for time.Now().Before(end) {
				one(ctx, to, each[number], steady, stream)
			}
		})
	}
	working.Wait()
	return each
}

func one(ctx context.Context, to target, seen *seen, steady time.Time, stream bool) {
	began := time.Now()
	var err error
	if stream {
		err = to.stream(ctx, &watch{seen: seen, began: began, steady: steady})
	} else {
		err = to.call(ctx)
	}
	if stream && ctx.Err() != nil {
		return
	}
	if err != nil {
		seen.failed++
		seen.fault = err.Error()
		time.Sleep(10 * time.Millisecond) // a gateway that refuses at once is not hammered
		return
	}
	seen.calls++
	seen.latencies = append(seen.latencies, milliseconds(time.Since(began)))
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func report(each []*seen, wall, spread, cpu float64) {
	var all seen
	for _, one := range each {
		all.calls += one.calls
		all.failed += one.failed
		all.tokens += one.tokens
		all.steady += one.steady
		all.reads += one.reads
		all.latencies = append(all.latencies, one.latencies...)
		all.firsts = append(all.firsts, one.firsts...)
		all.gaps = append(all.gaps, one.gaps...)
		if one.fault != "" {
			all.fault = one.fault
		}
	}
	found := map[string]any{
		"calls": all.calls, "failed": all.failed, "tokens": all.tokens, "reads": all.reads, "wall": wall, "cpu": cpu,
		"tokens_per_second": float64(all.steady) / (wall - spread), "fault": all.fault, "latency": percentiles(all.latencies), "first": percentiles(all.firsts),
		"gap": percentiles(all.gaps),
	}
	text, err := json.Marshal(found)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
}

func percentiles(values []float64) map[string]float64 {
	if len(values) == 0 {
		return nil
	}
	sort.Float64s(values)
	at := func(share float64) float64 { return values[min(len(values)-1, int(float64(len(values))*share))] }
	return map[string]float64{"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": values[len(values)-1]}
}
