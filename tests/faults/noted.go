// The example in Go, with the handler `noted` of ledger.py.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"
)

// Go's own monotonic clock does not say when it began.
func monotonic() float64 {
	var now syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&now)), 0)
	return float64(now.Sec) + float64(now.Nsec)/1e9
}

func write(what string, job *Job) {
	file, err := os.OpenFile(os.Getenv("LEDGER"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintf(file, "%s %s %d %d %.6f\n", what, job.ID, job.Attempt, os.Getpid(), monotonic())
}

func noted(ctx context.Context, job *Job) (any, error) {
	var payload struct {
		N     int
		S     float64
		Fails any
	}
	if err := json.Unmarshal(job.Payload, &payload); err != nil {
		return nil, err
	}
	write("start", job)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Duration(payload.S * float64(time.Second))):
	}
	write("end", job)
	if payload.Fails == "always" {
		return nil, Fail{"as it was told to"}
	}
	if fails, _ := payload.Fails.(float64); job.Attempt <= int(fails) {
		return nil, errors.New("as it was told to")
	}
	return payload.N, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	worker := Worker{URL: os.Getenv("API"), Queue: "default", Slots: 4, Lease: 2 * time.Second}
	worker.Handlers = map[string]Handler{"noted": noted}
	worker.Run(ctx)
}
