// Reads a publisher in Go: go run reader.go ENDPOINT. Needs github.com/go-zeromq/zmq4 and
// github.com/vmihailenco/msgpack/v5. Not built by the tests: it shows how the format reads in Go.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"os"
	"strings"

	"github.com/go-zeromq/zmq4"
	"github.com/vmihailenco/msgpack/v5"
)

// Header has the keys that are read here; docs/wire-format.md has all of them.
type Header struct {
	V    uint64   `msgpack:"v"`
	ID   string   `msgpack:"id"`
	Q    uint64   `msgpack:"q"`
	Dt   string   `msgpack:"dt"`
	Sh   []uint64 `msgpack:"sh"`
	St   string   `msgpack:"st"`
	Text string   `msgpack:"d"`
}

// half converts IEEE 754 binary16.
func half(bits uint16) float64 {
	exponent, fraction := int(bits>>10&31), float64(bits&1023)
	value := math.Ldexp(fraction, -24)
	if exponent > 0 {
		value = math.Ldexp(1024+fraction, exponent-25)
	}
	if bits>>15 == 1 {
		return -value
	}
	return value
}

func main() {
	socket := zmq4.NewSub(context.Background())
	defer socket.Close()
	if err := socket.Dial(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	for _, prefix := range []string{"e/", "s/"} {
		if err := socket.SetOption(zmq4.OptionSubscribe, prefix); err != nil {
			log.Fatal(err)
		}
	}
	for {
		message, err := socket.Recv()
		if err != nil {
			log.Fatal(err)
		}
		var header Header
		if len(message.Frames) < 2 || msgpack.Unmarshal(message.Frames[1], &header) != nil || header.V != 1 {
			continue
		}
		if strings.HasPrefix(string(message.Frames[0]), "e/") && len(message.Frames) >= 4 && header.Dt == "<f2" {
			first := half(binary.LittleEndian.Uint16(message.Frames[2]))
			fmt.Println(header.ID, header.Q, header.Sh, first)
		}
		if header.St != "" {
			fmt.Println(header.ID, header.St, header.Text)
		}
		if header.St == "ended" {
			return
		}
	}
}
