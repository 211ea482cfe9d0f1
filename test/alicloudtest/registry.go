package alicloudtest

import "net/http"

func (e *Emulator) newRegistryFront() (http.Handler, error) { return http.NotFoundHandler(), nil }
