/* Socket addresses: how they read, and whether a unix path can be bound again. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "restore/descriptors/address.h"

void restore_format_address(const struct sockaddr_storage *address, socklen_t length, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_in *v4 = (const void *)address;
	const struct sockaddr_in6 *v6 = (const void *)address;
	const struct sockaddr_un *un = (const void *)address;
	switch (address->ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(text, size, "%s:%u", host, ntohs(v4->sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(text, size, "[%s]:%u", host, ntohs(v6->sin6_port));
		break;
	case AF_UNIX:
		if (length <= offsetof(struct sockaddr_un, sun_path))
			snprintf(text, size, "an unnamed unix socket");
		else if (un->sun_path[0] == '\0')
			snprintf(text, size, "@%.*s", (int)(length - offsetof(struct sockaddr_un, sun_path)) - 1,
				 un->sun_path + 1);
		else
			snprintf(text, size, "%.*s", (int)(length - offsetof(struct sockaddr_un, sun_path)),
				 un->sun_path);
		break;
	default: snprintf(text, size, "an address of family %d", address->ss_family);
	}
}

uint16_t restore_port(const struct sockaddr_storage *address)
{
	return ((const struct sockaddr_in *)(const void *)address)->sin_port; /* at the same place in both */
}

static bool is_mapped(const struct sockaddr_storage *address)
{
	const struct sockaddr_in6 *v6 = (const void *)address;
	return address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
}

void restore_convert(struct sockaddr_storage *address, socklen_t *length, int family)
{
	const struct sockaddr_in v4 = *(const struct sockaddr_in *)(const void *)address;
	const struct sockaddr_in6 v6 = *(const struct sockaddr_in6 *)(const void *)address;
	if (family == AF_INET && is_mapped(address)) {
		struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = v6.sin6_port};
		memcpy(&result.sin_addr, v6.sin6_addr.s6_addr + 12, 4);
		memcpy(address, &result, sizeof(result));
		*length = sizeof(result);
	} else if (family == AF_INET6 && address->ss_family == AF_INET) {
		struct sockaddr_in6 result = {.sin6_family = AF_INET6,
					      .sin6_port = v4.sin_port,
					      .sin6_addr.s6_addr = {[10] = 255, [11] = 255}};
		memcpy(result.sin6_addr.s6_addr + 12, &v4.sin_addr, 4);
		memcpy(address, &result, sizeof(result));
		*length = sizeof(result);
	}
}

bool restore_same_endpoint(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	struct sockaddr_storage first = *a, second = *b;
	socklen_t length = sizeof(first);
	restore_convert(&first, &length, AF_INET6);
	restore_convert(&second, &length, AF_INET6);
	return first.ss_family == AF_INET6 && second.ss_family == AF_INET6 &&
	       restore_port(&first) == restore_port(&second) &&
	       memcmp(&((struct sockaddr_in6 *)(void *)&first)->sin6_addr,
		      &((struct sockaddr_in6 *)(void *)&second)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

struct sockaddr_storage restore_loopback(int family, bool mapped)
{
	struct sockaddr_storage address = {.ss_family = AF_INET};
	socklen_t length;
	((struct sockaddr_in *)(void *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (family == AF_INET6 && mapped)
		restore_convert(&address, &length, AF_INET6);
	if (family != AF_INET6 || mapped)
		return address;
	memset(&address, 0, sizeof(address));
	((struct sockaddr_in6 *)(void *)&address)->sin6_family = AF_INET6;
	((struct sockaddr_in6 *)(void *)&address)->sin6_addr = in6addr_loopback;
	return address;
}

bool restore_unix_path(const struct sockaddr_storage *address, socklen_t length, char *path)
{
	size_t start = offsetof(struct sockaddr_un, sun_path);
	if (address->ss_family != AF_UNIX || length <= start || length - start >= UNIX_PATH_SIZE)
		return false;
	memset(path, 0, UNIX_PATH_SIZE);
	memcpy(path, (const char *)address + start, length - start);
	return path[0] != '\0';
}

enum path_state restore_path_state(const struct sockaddr_storage *address, socklen_t length, const char *path, int type)
{
	struct stat status;
	if (stat(path, &status) < 0)
		return errno == ENOENT ? PATH_FREE : PATH_UNUSABLE;
	if (!S_ISSOCK(status.st_mode))
		return PATH_OTHER_FILE;
	int probe = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int result = connect(probe, (const struct sockaddr *)address, length);
	int error = errno;
	close(probe);
	if (result < 0 && error == ECONNREFUSED)
		return PATH_STALE;
	return result < 0 && error == EACCES ? PATH_UNUSABLE : PATH_IN_USE;
}

bool restore_may_create(const char *path)
{
	char directory[UNIX_PATH_SIZE];
	snprintf(directory, sizeof(directory), "%s", path);
	char *slash = strrchr(directory, '/');
	if (slash == NULL)
		return access(".", W_OK | X_OK) == 0;
	slash[slash == directory] = '\0'; /* "/name" lives in "/" */
	return access(directory, W_OK | X_OK) == 0;
}
