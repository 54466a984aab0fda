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
			snprintf(text, size, "@%.*s",
				 (int)(length - offsetof(struct sockaddr_un, sun_path)) - 1,
				 un->sun_path + 1);
		else
			snprintf(text, size, "%.*s", (int)(length - offsetof(struct sockaddr_un, sun_path)),
				 un->sun_path);
		break;
	default:
		snprintf(text, size, "an address of family %d", address->ss_family);
	}
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

enum path_state restore_path_state(const struct sockaddr_storage *address, socklen_t length, const char *path,
				   int type)
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
