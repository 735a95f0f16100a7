// Reads a publisher in Go, by way of libzmq: go run reader.go ENDPOINT [KEYFILE]. Needs cgo, libzmq and
// github.com/vmihailenco/msgpack/v5; where a binding such as pebbe/zmq4 is at hand, take that for the C below.
// Prints stream, number, length and first element of every vector; ends when a stream says that it ended.
package main

/*
#cgo LDFLAGS: -lzmq
#include <stdlib.h>
#include <zmq.h>
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unsafe"

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

// set gives the socket an option whose value is bytes.
func set(socket unsafe.Pointer, option C.int, value []byte) {
	data := C.CBytes(value)
	defer C.free(data)
	if C.zmq_setsockopt(socket, option, data, C.size_t(len(value))) != 0 {
		log.Fatal("libzmq refuses option ", option)
	}
}

// useKeys takes the keys out of a file that `ovstream keys new NAME --server KEY` wrote.
func useKeys(socket unsafe.Pointer, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	options := map[string]C.int{
		"public": C.ZMQ_CURVE_PUBLICKEY, "secret": C.ZMQ_CURVE_SECRETKEY, "server": C.ZMQ_CURVE_SERVERKEY,
	}
	for name, option := range options {
		found := regexp.MustCompile(name + ` = "(.{40})"`).FindSubmatch(text)
		if found == nil {
			log.Fatal(path, ": no ", name)
		}
		set(socket, option, append(found[1], 0))
	}
}

// receive waits for the next message.
func receive(socket unsafe.Pointer) (frames [][]byte) {
	var frame C.zmq_msg_t
	for more := true; more; {
		C.zmq_msg_init(&frame)
		if C.zmq_msg_recv(&frame, socket, 0) < 0 {
			log.Fatal("libzmq: nothing to receive from")
		}
		frames = append(frames, C.GoBytes(C.zmq_msg_data(&frame), C.int(C.zmq_msg_size(&frame))))
		more = C.zmq_msg_more(&frame) != 0
		C.zmq_msg_close(&frame)
	}
	return frames
}

func main() {
	socket := C.zmq_socket(C.zmq_ctx_new(), C.ZMQ_SUB)
	most := make([]byte, 8)
	binary.LittleEndian.PutUint64(most, 16<<20)
	set(socket, C.ZMQ_MAXMSGSIZE, most)
	for _, prefix := range []string{"e/", "s/"} { // embeddings before the rest
		set(socket, C.ZMQ_SUBSCRIBE, []byte(prefix))
	}
	if len(os.Args) > 2 {
		useKeys(socket, os.Args[2])
	}
	endpoint := C.CString(os.Args[1])
	defer C.free(unsafe.Pointer(endpoint))
	if C.zmq_connect(socket, endpoint) != 0 {
		log.Fatal("cannot connect to ", os.Args[1])
	}
	for {
		frames := receive(socket)
		var header Header
		if len(frames) < 2 || msgpack.Unmarshal(frames[1], &header) != nil || header.V != 1 {
			continue
		}
		if strings.HasPrefix(string(frames[0]), "e/") && len(frames) >= 4 && len(header.Sh) > 0 && len(frames[2]) >= 4 {
			first := float64(math.Float32frombits(binary.LittleEndian.Uint32(frames[2])))
			if header.Dt == "<f2" {
				first = half(binary.LittleEndian.Uint16(frames[2]))
			}
			fmt.Println(header.ID, header.Q, header.Sh[len(header.Sh)-1], strconv.FormatFloat(first, 'g', 6, 64))
		}
		if header.St != "" {
			fmt.Println(header.ID, header.St, header.Text)
		}
		if header.St == "ended" {
			return
		}
	}
}
