// A worker in Go without dependencies: Worker{...}.Run(ctx).
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Fail is an error after which there shall be no further attempt.
type Fail struct{ Reason string }

func (f Fail) Error() string { return f.Reason }

// Job is what a handler knows of its job. Its context ends when the job was taken back, or should stop.
type Job struct {
	ID       string          `json:"job_id"`
	Token    string          `json:"token"`
	Type     string          `json:"type"`
	Attempt  int             `json:"attempt"`
	TimeoutS float64         `json:"timeout_s"`
	Payload  json.RawMessage `json:"payload"`

	mutex    sync.Mutex
	progress any
	log      []string
}

// Progress is shown with the next beat.
func (j *Job) Progress(fraction float64, note string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.progress = map[string]any{"fraction": fraction, "note": note}
}

// Log adds a line to the job's log with the next beat.
func (j *Job) Log(line string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if j.log = append(j.log, line); len(j.log) > 100 {
		j.log = j.log[1:]
	}
}

func (j *Job) news() map[string]any {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	news := map[string]any{"token": j.Token}
	if j.progress != nil {
		news["progress"] = j.progress
	}
	if j.log != nil {
		news["log"] = j.log
	}
	j.progress, j.log = nil, nil
	return news
}

// Handler returns what is stored as the job's result.
type Handler func(ctx context.Context, job *Job) (any, error)

// Worker runs up to Slots jobs at a time.
type Worker struct {
	URL, Key, Queue string
	Slots           int
	Lease           time.Duration
	Handlers        map[string]Handler
}

// Run works until ctx ends, then finishes what it runs.
func (w *Worker) Run(ctx context.Context) {
	var all sync.WaitGroup
	for n := 0; n < w.Slots; n++ {
		all.Add(1)
		go func() {
			defer all.Done()
			w.slot(ctx)
		}()
	}
	all.Wait()
}

// One job at a time, under a name of its own. A claim keeps its number until an answer has come: so a lost one costs nothing.
func (w *Worker) slot(ctx context.Context) {
	types := make([]string, 0, len(w.Handlers))
	for name := range w.Handlers {
		types = append(types, name)
	}
	name, seq := newName(), 1
	for ctx.Err() == nil {
		var given struct{ Jobs []*Job }
		status := w.post(ctx, "/queues/"+w.Queue+"/claim", map[string]any{
			"worker": name, "seq": seq, "types": types, "wait_s": 20, "lease_s": w.Lease.Seconds(),
		}, &given)
		switch status {
		case 200, 204, 409:
			seq++
		default:
			pause(ctx, time.Second)
		}
		for _, job := range given.Jobs {
			w.attempt(job)
		}
	}
}

func (w *Worker) attempt(job *Job) {
	ctx, lose := context.WithCancel(context.Background())
	defer lose()
	ended, beats := make(chan struct{}), make(chan string, 1)
	go func() { beats <- w.beat(job, lose, ended) }()
	result, err := w.call(ctx, job)
	close(ended)
	switch <-beats {
	case "lost": // it is somebody else's by now
	case "cancelled":
		w.settle(job, map[string]any{"error": failure("cancelled", "it was asked to stop")})
	default:
		w.settle(job, outcome(result, err))
	}
}

// A panic fails the attempt.
func (w *Worker) call(ctx context.Context, job *Job) (result any, err error) {
	defer func() {
		if found := recover(); found != nil {
			err = fmt.Errorf("panic: %v", found)
		}
	}()
	return w.Handlers[job.Type](ctx, job)
}

func outcome(result any, err error) map[string]any {
	var fail Fail
	if errors.As(err, &fail) {
		return map[string]any{"error": failure("Fail", fail.Reason), "retry": false}
	}
	if err != nil {
		return map[string]any{"error": failure("Error", err.Error())}
	}
	return map[string]any{"result": result}
}

func failure(kind, message string) map[string]string {
	if len(message) > 2000 {
		message = message[:2000]
	}
	return map[string]string{"kind": kind, "message": message}
}

// Three times a lease: says that the job is still being worked at, and hears whether it should be.
func (w *Worker) beat(job *Job, lose func(), ended chan struct{}) string {
	ticks := time.NewTicker(w.Lease / 3)
	defer ticks.Stop()
	for {
		select {
		case <-ended:
			return ""
		case <-ticks.C:
		}
		var said struct{ Cancel bool }
		status := w.post(context.Background(), "/jobs/"+job.ID+"/extend", job.news(), &said)
		if status == 404 || status == 409 {
			lose()
			return "lost"
		}
		if said.Cancel {
			lose()
			return "cancelled"
		}
	}
}

// Until it is answered: a settlement may be sent twice.
func (w *Worker) settle(job *Job, end map[string]any) {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		end["token"] = job.Token
		switch status := w.post(context.Background(), "/jobs/"+job.ID+"/finish", end, nil); {
		case status == 422 || status == 413:
			end = map[string]any{"error": failure("bad_result", "the result cannot be stored"), "retry": false}
		case status != 0 && status < 500 && status != 429:
			return
		}
		if wait > 2*time.Second {
			wait = 2 * time.Second
		}
		time.Sleep(wait)
	}
}

// Posts JSON and reads the answer's. Returns its status; 0 when none came.
func (w *Worker) post(ctx context.Context, path string, body any, into any) int {
	text, err := json.Marshal(body)
	if err != nil {
		return 422 // a result that is no JSON
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "POST", w.URL+path, bytes.NewReader(text))
	if err != nil {
		return 0
	}
	request.Header.Set("Content-Type", "application/json")
	if w.Key != "" {
		request.Header.Set("Authorization", "Bearer "+w.Key)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	if answer.StatusCode == 200 && into != nil && json.NewDecoder(answer.Body).Decode(into) != nil {
		return 0
	}
	return answer.StatusCode
}

func newName() string {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		panic(err)
	}
	return "go-" + hex.EncodeToString(random)
}

func pause(ctx context.Context, wait time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}
