/* Socket addresses of the restore; see address.c. */
#ifndef RESTORE_DESCRIPTORS_ADDRESS_H
#define RESTORE_DESCRIPTORS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define UNIX_PATH_SIZE (sizeof(((struct sockaddr_un *)0)->sun_path) + 1)
#define ADDRESS_TEXT_SIZE 160

enum path_state {
	PATH_FREE,       /* nothing is there */
	PATH_STALE,      /* a socket nobody listens on */
	PATH_IN_USE,     /* a socket with a living owner */
	PATH_OTHER_FILE, /* not a socket */
	PATH_UNUSABLE,   /* it cannot be told: no permission */
};

/* As in messages: "127.0.0.1:80", "[::1]:80", "/run/name", "@abstract". */
void restore_format_address(const struct sockaddr_storage *address, socklen_t length, char *text, size_t size);

/* The port of an IPv4 or IPv6 address, in network order. */
uint16_t restore_port(const struct sockaddr_storage *address);

/* The same host and port, be it as IPv4 or as IPv6. */
bool restore_same_endpoint(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* Writes an IPv4 address or an IPv6 one that stands for it as `family` has it, if it can. */
void restore_convert(struct sockaddr_storage *address, socklen_t *length, int family);

/* The loopback address of `family`, any port; with `mapped`, for AF_INET6, that of IPv4. */
struct sockaddr_storage restore_loopback(int family, bool mapped);

/* The path of a unix address, terminated, in UNIX_PATH_SIZE bytes. False when it has none. */
bool restore_unix_path(const struct sockaddr_storage *address, socklen_t length, char *path);

/* What is at `path` now. Tries to connect a socket of `type`. */
enum path_state restore_path_state(const struct sockaddr_storage *address, socklen_t length, const char *path,
				   int type);

/* Whether a file can be made or removed in the directory of `path`. */
bool restore_may_create(const char *path);

#endif
