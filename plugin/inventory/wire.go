package inventory

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// maxMessage bounds an answer in bytes, as the kubelet bounds CRI's.
const maxMessage = 16 << 20

// errWire says that an answer is not the message that it should be.
var errWire = errors.New("the runtime's answer cannot be read: it is not of a version of the API that is known here")

// message is a message in protobuf's wire format.
type message []byte

// raw is a codec that leaves messages as they are.
type raw struct{}

// Name implements encoding.Codec. It is the content type that a server of protobuf expects.
func (raw) Name() string { return "proto" }

// Marshal implements encoding.Codec.
func (raw) Marshal(v any) ([]byte, error) {
	m, ok := v.(message)
	if !ok {
		return nil, fmt.Errorf("%T is no message in wire format", v)
	}
	return m, nil
}

// Unmarshal implements encoding.Codec. The library gives it a slice of its own.
func (raw) Unmarshal(data []byte, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("%T takes no message in wire format", v)
	}
	*m = append((*m)[:0], data...)
	return nil
}

// call calls a method and calls field for each field of the answer.
func (c *Client) call(ctx context.Context, method string, request message, field func(number protowire.Number, value message, n uint64) error) error {
	var answer message
	err := c.conn.Invoke(ctx, method, request, &answer, grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(maxMessage))
	if err != nil {
		return errgrpc.ToNative(err)
	}
	return answer.each(field)
}

// each calls field for each field of a message, with the bytes of one that has a length, and with the number of one that is a
// number.
func (m message) each(field func(number protowire.Number, value message, n uint64) error) error {
	for len(m) > 0 {
		number, kind, size := protowire.ConsumeTag(m)
		if size < 0 {
			return errWire
		}
		m = m[size:]
		var value []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(m)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(m)
		default:
			size = protowire.ConsumeFieldValue(number, kind, m)
		}
		if size < 0 {
			return errWire
		}
		m = m[size:]
		if err := field(number, value, n); err != nil {
			return err
		}
	}
	return nil
}

// text is a message with one field that is a string.
func text(number protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), s)
}
