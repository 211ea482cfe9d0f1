package alicloudtest

import "net/http"

func (e *Emulator) serveAdmin(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
