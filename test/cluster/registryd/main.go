// Command registryd is a registry in memory with the referrers API, as a process of its own so that a test can pause
// and stop it. It logs requests in the common log format.
package main

import (
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on; port 0 chooses a free one")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.SetOutput(os.Stdout)
	log.SetFlags(0)
	log.Printf("listening on %s", listener.Addr())
	handler := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := &http.Server{Handler: &accessLog{handler: handler, output: os.Stdout}, ReadHeaderTimeout: time.Minute}
	log.Fatal(server.Serve(listener))
}

// accessLog writes a line for each request, once it is answered.
type accessLog struct {
	handler http.Handler
	mutex   sync.Mutex // guards output
	output  io.Writer
}

func (l *accessLog) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	recorder := &statusRecorder{ResponseWriter: response, status: http.StatusOK}
	l.handler.ServeHTTP(recorder, request)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	logger := log.New(l.output, "", 0)
	logger.Printf("%s - - [%s] \"%s %s %s\" %d -", request.RemoteAddr, time.Now().UTC().Format(time.RFC3339),
		request.Method, request.URL.RequestURI(), request.Proto, recorder.status)
}

// statusRecorder remembers the status that a handler answers with.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
