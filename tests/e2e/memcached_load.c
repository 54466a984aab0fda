/*
 * A memcached client that knows what must be there.
 *
 *   memcached_load port                            prints a port that is free
 *   memcached_load wait PORT                       waits until the server answers
 *   memcached_load fill PORT DIRECTORY KEYS        sets every key once
 *   memcached_load update PORT DIRECTORY           sets random keys until the server is gone
 *   memcached_load check PORT DIRECTORY TIME_NS    TIME_NS: CLOCK_REALTIME of the checkpoint
 *                                                  that was restored
 *
 * A value follows from its key and its version; versions of a key only grow. DIRECTORY keeps, for
 * each key, the newest version that was sent, and, in the order of their arrival, the
 * acknowledgements with their times. `check` asks for every key: each must be there, whole, with
 * a version no older than the last one acknowledged before TIME_NS and no newer than the last one
 * sent. It then forgets the acknowledgements, as what came after the checkpoint is gone, and keeps
 * what it found.
 *
 * Text protocol, several connections, requests in batches (pipelined). Prints one line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 4
#define BATCH 50
#define LARGEST_VALUE 600
#define BUFFER_BYTES (BATCH * (LARGEST_VALUE + 100))

/* What is known of one key; a file of these, mapped. Written by the connection that owns the key. */
struct key_state {
	uint32_t sent;  /* newest version sent, 0: none */
	uint32_t known; /* oldest version that may be there: acknowledged, or found by the last check */
};

/* One acknowledgement, in the log of a connection. */
struct acknowledgement {
	uint32_t key, version;
	int64_t time_ns; /* CLOCK_REALTIME when it arrived */
};

struct connection {
	int number; /* owns the keys with this remainder */
	int fd;
	FILE *log;
	uint64_t acknowledged;
	size_t length, next; /* of `buffer`: received and not yet taken */
	char buffer[BUFFER_BYTES];
};

static int port;
static const char *directory;
static struct key_state *keys;
static uint32_t key_count;
static int64_t checkpoint_ns;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static int64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- what is kept in the directory ---- */

static char *file_name(const char *name, int number)
{
	char *path;

	if (asprintf(&path, "%s/%s%d", directory, name, number) < 0)
		die("out of memory");
	return path;
}

static void map_keys(uint32_t create)
{
	int fd = open(file_name("keys", 0), O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0), 0600);
	struct stat status;

	if (fd < 0 || (create && ftruncate(fd, (off_t)(create * sizeof(*keys)))) || fstat(fd, &status))
		die("%s/keys0: %s", directory, strerror(errno));
	key_count = (uint32_t)((size_t)status.st_size / sizeof(*keys));
	keys = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (keys == MAP_FAILED)
		die("%s/keys0: %s", directory, strerror(errno));
	close(fd);
}

static FILE *open_log(int number, const char *mode)
{
	FILE *log = fopen(file_name("log", number), mode);

	if (!log)
		die("%s: %s", file_name("log", number), strerror(errno));
	return log;
}

/* ---- values ---- */

/* The version in eight hexadecimal digits, then bytes of any value, zero and newline included. */
static size_t make_value(uint32_t key, uint32_t version, char *value)
{
	uint64_t seed = mix((uint64_t)key << 32 | version);
	size_t length = 8 + seed % (LARGEST_VALUE - 8), i;

	for (i = 0; i < length; i++)
		value[i] = (char)(mix(seed + i / 8) >> i % 8 * 8);
	for (i = 0; i < 8; i++)
		value[i] = "0123456789abcdef"[version >> (28 - 4 * i) & 15];
	return length;
}

static uint32_t version_of(const char *value, size_t length)
{
	char digits[9] = {0};

	if (length < 8)
		return 0;
	memcpy(digits, value, 8);
	return (uint32_t)strtoul(digits, NULL, 16);
}

/* ---- the connection ---- */

static struct sockaddr_in local_address(int number)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static bool open_connection(struct connection *connection)
{
	struct sockaddr_in address = local_address(port);
	int on = 1;

	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	connection->length = connection->next = 0;
	if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof(address)))
		return false;
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return true;
}

static bool send_all(struct connection *connection, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(connection->fd, bytes, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		bytes += sent;
		length -= (size_t)sent;
	}
	return true;
}

/* Makes `wanted` bytes available at buffer + next. False when the server is gone. */
static bool receive(struct connection *connection, size_t wanted)
{
	while (connection->length - connection->next < wanted) {
		ssize_t got;

		if (connection->next > BUFFER_BYTES / 2) {
			connection->length -= connection->next;
			memmove(connection->buffer, connection->buffer + connection->next, connection->length);
			connection->next = 0;
		}
		got = recv(connection->fd, connection->buffer + connection->length, BUFFER_BYTES - connection->length,
			   0);
		if (got <= 0)
			return false;
		connection->length += (size_t)got;
	}
	return true;
}

/* The next line without its "\r\n", terminated, or NULL when the server is gone. */
static char *receive_line(struct connection *connection)
{
	size_t length = 1;
	char *line;

	for (;; length++) {
		if (!receive(connection, length))
			return NULL;
		line = connection->buffer + connection->next;
		if (line[length - 1] == '\n')
			break;
	}
	connection->next += length;
	line[length >= 2 ? length - 2 : 0] = '\0';
	return line;
}

/* ---- setting ---- */

static size_t format_set(char *request, uint32_t key, uint32_t version)
{
	char value[LARGEST_VALUE];
	size_t length = make_value(key, version, value);
	size_t head = (size_t)sprintf(request, "set key:%08u 0 0 %zu\r\n", key, length);

	memcpy(request + head, value, length);
	memcpy(request + head + length, "\r\n", 2);
	return head + length + 2;
}

static void log_acknowledgement(struct connection *connection, uint32_t key, uint32_t version)
{
	struct acknowledgement entry = {key, version, realtime_ns()};

	fwrite(&entry, sizeof(entry), 1, connection->log);
	connection->acknowledged++;
}

/* Sets new versions of these keys, all requests before the first answer. False when the server is gone. */
static bool set_batch(struct connection *connection, const uint32_t *batch, int count)
{
	static __thread char request[BUFFER_BYTES];
	uint32_t versions[BATCH];
	size_t length = 0;
	char *line;
	int i;

	for (i = 0; i < count; i++) {
		versions[i] = ++keys[batch[i]].sent;
		length += format_set(request + length, batch[i], versions[i]);
	}
	if (!send_all(connection, request, length))
		return false;
	for (i = 0; i < count; i++) {
		line = receive_line(connection);
		if (!line)
			return false;
		if (strcmp(line, "STORED"))
			die("set key:%08u: the server says \"%s\"", batch[i], line);
		log_acknowledgement(connection, batch[i], versions[i]);
	}
	return true;
}

static void *fill(void *argument)
{
	struct connection *connection = argument;
	uint32_t batch[BATCH], key = (uint32_t)connection->number;
	int count;

	connection->log = open_log(connection->number, "we");
	if (!open_connection(connection))
		die("cannot connect to port %d: %s", port, strerror(errno));
	while (key < key_count) {
		for (count = 0; count < BATCH && key < key_count; key += CONNECTIONS)
			batch[count++] = key;
		if (!set_batch(connection, batch, count))
			die("the server closed the connection");
	}
	fclose(connection->log);
	return NULL;
}

static void *update(void *argument)
{
	struct connection *connection = argument;
	uint64_t state = mix((uint64_t)realtime_ns() + (uint64_t)connection->number);
	uint32_t batch[BATCH], own = key_count / CONNECTIONS;
	bool alive;
	int i;

	connection->log = open_log(connection->number, "ae");
	alive = open_connection(connection);
	while (alive) {
		for (i = 0; i < BATCH; i++) {
			state = mix(state);
			batch[i] = (uint32_t)(state % own) * CONNECTIONS + (uint32_t)connection->number;
		}
		alive = set_batch(connection, batch, BATCH);
	}
	if (fclose(connection->log))
		die("%s/log%d: %s", directory, connection->number, strerror(errno));
	return NULL;
}

/* ---- checking ---- */

/* What was acknowledged before the checkpoint must be there. */
static void *read_log(void *argument)
{
	struct connection *connection = argument;
	struct acknowledgement entry;

	connection->log = open_log(connection->number, "re");
	while (fread(&entry, sizeof(entry), 1, connection->log) == 1) {
		if (entry.key >= key_count)
			die("the log of acknowledgements is damaged");
		if (entry.time_ns < checkpoint_ns && entry.version > keys[entry.key].known)
			keys[entry.key].known = entry.version;
	}
	fclose(connection->log);
	return NULL;
}

static void check_value(uint32_t key, const char *value, size_t length)
{
	uint32_t version = version_of(value, length);
	char expected[LARGEST_VALUE];

	if (make_value(key, version, expected) != length || memcmp(value, expected, length))
		die("key:%08u: the value of version %u is damaged", key, version);
	if (version < keys[key].known)
		die("key:%08u: version %u, but %u was acknowledged before the checkpoint", key, version,
		    keys[key].known);
	if (version > keys[key].sent)
		die("key:%08u: version %u, but only %u were sent", key, version, keys[key].sent);
	keys[key].known = version;
}

/* One answer to a get of one key: VALUE line, value, END. Absent is fine when nothing was acknowledged. */
static void check_answer(struct connection *connection, uint32_t key)
{
	char *line = receive_line(connection), name[32];
	size_t length;

	if (line && !strcmp(line, "END")) {
		if (keys[key].known)
			die("key:%08u is missing; version %u was acknowledged", key, keys[key].known);
		return;
	}
	if (!line || sscanf(line, "VALUE %31s 0 %zu", name, &length) != 2 || length > LARGEST_VALUE)
		die("get key:%08u: the server says \"%s\"", key, line ? line : "(closed)");
	if (!receive(connection, length + 2))
		die("get key:%08u: the connection was closed", key);
	check_value(key, connection->buffer + connection->next, length);
	connection->next += length + 2;
	line = receive_line(connection);
	if (!line || strcmp(line, "END"))
		die("get key:%08u: no END after the value", key);
}

static void *check(void *argument)
{
	struct connection *connection = argument;
	uint32_t key = (uint32_t)connection->number, first;
	char request[BATCH * 32];
	size_t length;

	read_log(connection);
	if (!open_connection(connection))
		die("cannot connect to port %d: %s", port, strerror(errno));
	while (key < key_count) {
		for (first = key, length = 0; key < key_count && key < first + BATCH * CONNECTIONS; key += CONNECTIONS)
			length += (size_t)sprintf(request + length, "get key:%08u\r\n", key);
		if (!send_all(connection, request, length))
			die("the server closed the connection");
		for (; first < key; first += CONNECTIONS)
			check_answer(connection, first);
	}
	fclose(open_log(connection->number, "we")); /* forgets the acknowledgements */
	return NULL;
}

/* ---- before there is a load ---- */

/* Below the range the kernel hands out to others, so that it stays free between two lives of a server. */
static void print_free_port(void)
{
	uint64_t state = mix((uint64_t)realtime_ns());
	struct sockaddr_in address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	do {
		state = mix(state);
		address = local_address(10000 + (int)(state % 20000));
	} while (bind(fd, (struct sockaddr *)&address, sizeof(address)));
	printf("%d\n", ntohs(address.sin_port));
	close(fd);
}

static bool server_answers(void)
{
	static struct connection connection;
	char *line = NULL;

	if (open_connection(&connection) && send_all(&connection, "version\r\n", 9))
		line = receive_line(&connection);
	close(connection.fd);
	return line && !strncmp(line, "VERSION", 7);
}

static void wait_for_server(void)
{
	int64_t deadline = realtime_ns() + 60 * 1000000000LL;

	while (!server_answers()) {
		if (realtime_ns() > deadline)
			die("nobody answers at port %d", port);
		usleep(1000);
	}
}

/* ---- commands ---- */

/* Runs `function` on every connection at once; how many requests were acknowledged. */
static uint64_t run_connections(void *(*function)(void *))
{
	struct connection *connections = calloc(CONNECTIONS, sizeof(*connections));
	pthread_t threads[CONNECTIONS];
	uint64_t acknowledged = 0;
	int i;

	for (i = 0; i < CONNECTIONS; i++) {
		connections[i].number = i;
		if (pthread_create(&threads[i], NULL, function, &connections[i]))
			die("cannot start a thread");
	}
	for (i = 0; i < CONNECTIONS; i++) {
		pthread_join(threads[i], NULL);
		acknowledged += connections[i].acknowledged;
		if (connections[i].fd > 0)
			close(connections[i].fd);
	}
	free(connections);
	return acknowledged;
}

static void __attribute__((noreturn)) usage(void)
{
	die("usage: memcached_load port | wait PORT | fill PORT DIRECTORY KEYS | update PORT DIRECTORY | "
	    "check PORT DIRECTORY TIME_NS");
}

static void run_load(const char *command, const char *argument)
{
	map_keys(!strcmp(command, "fill") ? (uint32_t)atol(argument) : 0);
	if (!strcmp(command, "fill")) {
		printf("%llu keys set\n", (unsigned long long)run_connections(fill));
	} else if (!strcmp(command, "update")) {
		printf("%llu updates acknowledged\n", (unsigned long long)run_connections(update));
	} else {
		checkpoint_ns = atoll(argument);
		run_connections(check);
		printf("%u keys checked\n", key_count);
	}
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		int count;
	} commands[] = {{"port", 2}, {"wait", 3}, {"fill", 5}, {"update", 4}, {"check", 5}};
	size_t i;

	for (i = 0; i < 5 && (count < 2 || strcmp(arguments[1], commands[i].name)); i++)
		;
	if (i == 5 || count != commands[i].count)
		usage();
	port = count > 2 ? atoi(arguments[2]) : 0;
	directory = count > 3 ? arguments[3] : NULL;
	if (i == 0)
		print_free_port();
	else if (i == 1)
		wait_for_server();
	else
		run_load(arguments[1], count > 4 ? arguments[4] : NULL);
	return 0;
}
