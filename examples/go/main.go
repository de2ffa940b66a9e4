// go run .: handles the type "thumbnail", until Ctrl-C.
package main

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func thumbnail(ctx context.Context, job *Job) (any, error) {
	var payload struct{ Width int }
	if json.Unmarshal(job.Payload, &payload) != nil || payload.Width <= 0 {
		return nil, Fail{"width must be a positive number"}
	}
	job.Progress(0.5, "half of it")
	return map[string]int{"width": payload.Width, "height": payload.Width * 3 / 4, "attempt": job.Attempt}, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	url := os.Getenv("API")
	if url == "" {
		url = "http://127.0.0.1:8000"
	}
	worker := Worker{URL: url, Key: os.Getenv("KEY"), Queue: "default", Slots: 4, Lease: 15 * time.Second}
	worker.Handlers = map[string]Handler{"thumbnail": thumbnail}
	worker.Run(ctx)
}
