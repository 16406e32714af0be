/* The floor: the least a presence server has to do on one core. No library, no allocation, no queue.
 *
 * It speaks just enough of RFC 6455 and of the classic protocol for the load client: the handshake,
 * CONNECTION_ESTABLISHED, and USER_ONLINE and USER_OFFLINE to everybody else. What happens in one turn of the event
 * loop goes out together at its end, in one send(2) per watcher.
 *
 * Left out, and therefore not paid for: heartbeats, fragments, limits, errors told to clients, watchers that read
 * slowly (they are cut off). A request has to come in one piece; a user id is a number below MAX_USER.
 *
 * usage: floor PORT        listens on 127.0.0.1 until it is killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 20000, MAX_USER = 1 << 24, MAX_EVENTS = 512, MAX_BATCH = 1 << 18, MAX_FRAME = 256 };

/* By file descriptor. `user` is 0 until the handshake is done. */
static struct {
    uint32_t user;
    int place;     /* in `watchers` */
    size_t joined; /* where in the batch it joined: what is before that is not for it */
} peers[MAX_FILES];
static int watchers[MAX_FILES], watcher_count;
static uint16_t connections[MAX_USER]; /* of each user */
static char batch[MAX_BATCH];          /* the frames of this turn */
static size_t batch_size;

/* SHA-1 (RFC 3174) of at most 119 bytes, which are two blocks. */
static void sha1(const char *text, size_t size, uint8_t digest[20]) {
    uint8_t message[128] = {0};
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    size_t padded = size < 56 ? 64 : 128;
    memcpy(message, text, size);
    message[size] = 0x80;
    message[padded - 2] = (uint8_t)(size * 8 >> 8);
    message[padded - 1] = (uint8_t)(size * 8);
    for (uint8_t *block = message; block < message + padded; block += 64) {
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
        for (int i = 16; i < 80; i++) {
            uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
            w[i] = x << 1 | x >> 31;
        }
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                                  : (b ^ c ^ d) + 0xCA62C1D6;
            f += (a << 5 | a >> 27) + e + w[i];
            e = d, d = c, c = b << 30 | b >> 2, b = a, a = f;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
}

/* Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2): 28 characters of base64 and a zero. */
static void accept_key(const char *key, char out[29]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[24 + 36 + 1];
    uint8_t digest[21] = {0}; /* the last one pads the last group of three */
    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1(text, strlen(text), digest);
    for (int i = 0; i < 7; i++) {
        uint32_t bits = digest[3 * i] << 16 | digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++) out[4 * i + j] = digits[bits >> (18 - 6 * j) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}

/* A message as a frame; the greeting has a connection id. Returns its bytes, MAX_FRAME at most. */
static size_t encode(char *frame, const char *type, uint32_t user, int greeting) {
    struct timespec now;
    struct tm date;
    char second[32], text[MAX_FRAME];
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &date));
    long ms = now.tv_nsec / 1000000;
    int size = sprintf(text, "{\"type\":\"%s\",\"userId\":%u,\"timestamp\":\"%s.%03ldZ\"", type, user, second, ms);
    if (greeting) size += sprintf(text + size, ",\"connectionId\":\"%u-%ld%03ld\"", user, (long)now.tv_sec, ms);
    text[size++] = '}';
    int head = size < 126 ? 2 : 4;
    frame[0] = (char)0x81; /* FIN, text */
    frame[1] = (char)(size < 126 ? size : 126);
    if (head == 4) frame[2] = (char)(size >> 8), frame[3] = (char)size;
    memcpy(frame + head, text, (size_t)size);
    return (size_t)(head + size);
}

/* The heart: one send per watcher, however many changes are in the batch. */
static void flush(void) {
    for (int i = 0; i < watcher_count; i++) {
        int fd = watchers[i];
        size_t from = peers[fd].joined, size = batch_size - from;
        peers[fd].joined = 0;
        if (size && send(fd, batch + from, size, MSG_NOSIGNAL) != (ssize_t)size)
            shutdown(fd, SHUT_RDWR); /* too slow; the next turn finds it at its end and removes it */
    }
    batch_size = 0;
}

static void publish(const char *type, uint32_t user) {
    if (batch_size + MAX_FRAME > MAX_BATCH) flush();
    batch_size += encode(batch + batch_size, type, user, 0);
}

static void leave(int fd) {
    uint32_t user = peers[fd].user;
    if (user) {
        int last = watchers[--watcher_count];
        watchers[peers[fd].place] = last;
        peers[last].place = peers[fd].place;
        if (--connections[user] == 0) publish("USER_OFFLINE", user);
    }
    peers[fd].user = 0;
    close(fd);
}

/* Answer the handshake; 0 when the request is not one. */
static int join(int fd, const char *request) {
    char answer[512], accept[29];
    const char *id = strstr(request, "userId="), *key = strstr(request, "Sec-WebSocket-Key: ");
    uint32_t user = id ? (uint32_t)strtoul(id + 7, NULL, 10) : 0;
    if (!key || user == 0 || user >= MAX_USER) return 0;
    accept_key(key + strlen("Sec-WebSocket-Key: "), accept);
    int size = snprintf(answer, sizeof answer,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Accept: %s\r\n\r\n",
                        accept);
    size += (int)encode(answer + size, "CONNECTION_ESTABLISHED", user, 1);
    if (send(fd, answer, (size_t)size, MSG_NOSIGNAL) != size) return 0;
    if (connections[user]++ == 0) publish("USER_ONLINE", user);
    peers[fd].user = user;
    peers[fd].joined = batch_size; /* after its own change, which it is not told */
    peers[fd].place = watcher_count;
    watchers[watcher_count++] = fd;
    return 1;
}

static void readable(int fd) {
    char input[4096];
    ssize_t size = recv(fd, input, sizeof input - 1, 0);
    if (size <= 0) return leave(fd);
    input[size] = 0;
    if (!peers[fd].user) {
        if (!join(fd, input)) leave(fd);
    } else if ((input[0] & 15) == 8) { /* a close frame: echo it and go */
        (void)!send(fd, "\x88\x02\x03\xe8", 4, MSG_NOSIGNAL);
        leave(fd);
    }
}

int main(int count, char **arguments) {
    int on = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), loop = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = door}, events[MAX_EVENTS];
    if (count != 2) return fprintf(stderr, "usage: floor PORT\n"), 2;
    address.sin_port = htons((uint16_t)atoi(arguments[1]));
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(door, (struct sockaddr *)&address, sizeof address) || listen(door, 4096)) return perror("floor"), 1;
    epoll_ctl(loop, EPOLL_CTL_ADD, door, &event);
    for (;;) {
        int ready = epoll_wait(loop, events, MAX_EVENTS, -1), fd;
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != door) {
                readable(events[i].data.fd);
                continue;
            }
            while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MAX_FILES) {
                    close(fd);
                    continue;
                }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                event.data.fd = fd;
                epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
            }
        }
        flush();
    }
}
