/* Reads a publisher with libzmq and msgpack-c: cc reader.c -lzmq -lmsgpackc -lm -o reader; ./reader ENDPOINT [KEYFILE]
 * Prints stream, number, length and first element of every vector; ends when a stream says that it ended. */
#include <math.h>
#include <msgpack.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

static const msgpack_object *find(const msgpack_object *map, const char *key) {
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *name = &map->via.map.ptr[i].key;
        if (name->type == MSGPACK_OBJECT_STR && name->via.str.size == strlen(key) &&
            !memcmp(name->via.str.ptr, key, name->via.str.size))
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

static uint64_t number(const msgpack_object *map, const char *key) {
    const msgpack_object *value = find(map, key);
    return value && value->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? value->via.u64 : 0;
}

static int text_is(const msgpack_object *value, const char *text) {
    return value && value->type == MSGPACK_OBJECT_STR && value->via.str.size == strlen(text) &&
           !memcmp(value->via.str.ptr, text, value->via.str.size);
}

static double half(const unsigned char *bytes) { /* IEEE 754 binary16, little-endian */
    int bits = bytes[0] | bytes[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return bits >> 15 ? -value : value;
}

/* Returns 1 when the stream has ended. */
static int show(zmq_msg_t *frames, int count) {
    msgpack_unpacked header;
    int ended = 0;
    if (count < 2) return 0;
    msgpack_unpacked_init(&header);
    if (msgpack_unpack_next(&header, zmq_msg_data(&frames[1]), zmq_msg_size(&frames[1]), NULL) == MSGPACK_UNPACK_SUCCESS &&
        header.data.type == MSGPACK_OBJECT_MAP && number(&header.data, "v") == 1) {
        const msgpack_object *map = &header.data, *id = find(map, "id");
        const char *topic = zmq_msg_data(&frames[0]);
        if (id && id->type == MSGPACK_OBJECT_STR && topic[0] == 'e' && count >= 4 && zmq_msg_size(&frames[2]) >= 4) {
            int is_half = text_is(find(map, "dt"), "<f2");
            float whole;
            memcpy(&whole, zmq_msg_data(&frames[2]), 4);
            const msgpack_object *shape = find(map, "sh");
            uint32_t sizes = shape && shape->type == MSGPACK_OBJECT_ARRAY ? shape->via.array.size : 0;
            printf("%.*s %llu %llu %.6g\n", (int)id->via.str.size, id->via.str.ptr,
                   (unsigned long long)number(map, "q"),
                   sizes ? (unsigned long long)shape->via.array.ptr[sizes - 1].via.u64 : 0,
                   is_half ? half(zmq_msg_data(&frames[2])) : (double)whole);
            fflush(stdout);
        }
        if (id && id->type == MSGPACK_OBJECT_STR && topic[0] == 's') {
            const msgpack_object *kind = find(map, "st"), *said = find(map, "d");
            if (kind && kind->type == MSGPACK_OBJECT_STR && said && said->type == MSGPACK_OBJECT_STR)
                printf("%.*s %.*s %.*s\n", (int)id->via.str.size, id->via.str.ptr, (int)kind->via.str.size,
                       kind->via.str.ptr, (int)said->via.str.size, said->via.str.ptr);
            fflush(stdout);
            ended = text_is(kind, "ended");
        }
    }
    msgpack_unpacked_destroy(&header);
    return ended;
}

/* Sets the keys of a file that `ovstream keys new NAME --server KEY` wrote; returns how many. */
static int use_keys(void *socket, const char *path) {
    static const struct { const char *format; int option; } names[] = {
        {" public = \"%40[^\"]\"", ZMQ_CURVE_PUBLICKEY},
        {" secret = \"%40[^\"]\"", ZMQ_CURVE_SECRETKEY},
        {" server = \"%40[^\"]\"", ZMQ_CURVE_SERVERKEY},
    };
    char line[128], key[41];
    int found = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        for (int i = 0; i < 3; i++)
            if (sscanf(line, names[i].format, key) == 1)
                found += !zmq_setsockopt(socket, names[i].option, key, strlen(key) + 1);
    if (file) fclose(file);
    return found;
}

int main(int argc, char **argv) {
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_SUB);
    int64_t most = 16 << 20;
    int ended = 0;
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
    zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "e/", 2); /* embeddings before the rest */
    zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "s/", 2);
    if (argc < 2 || (argc > 2 && use_keys(socket, argv[2]) != 3) || zmq_connect(socket, argv[1])) {
        fprintf(stderr, "usage: reader ENDPOINT [KEYFILE]\n");
        return 1;
    }
    while (!ended) {
        zmq_msg_t frames[8];
        int count = 0, more = 1;
        while (more) {
            zmq_msg_t extra, *frame = count < 8 ? &frames[count] : &extra;
            zmq_msg_init(frame);
            if (zmq_msg_recv(frame, socket, 0) < 0) return 1;
            more = zmq_msg_more(frame);
            if (frame == &extra) zmq_msg_close(&extra);
            else count++;
        }
        ended = show(frames, count);
        while (count) zmq_msg_close(&frames[--count]);
    }
    zmq_close(socket);
    zmq_ctx_term(context);
    return 0;
}
