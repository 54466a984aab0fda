/* A thread that does little but connect(): a checkpoint finds it there as a rule, where the kernel makes the call again
 * after a signal, although the connection is there. */
#include <netinet/in.h>
#include <sys/socket.h>

#include "victim.h"

static struct sockaddr_in address = {.sin_family = AF_INET};

static uint64_t exchange(int listener, char byte)
{
	struct linger linger = {.l_onoff = 1}; /* nothing stays behind that holds a port */
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server;

	CHECK_EQUAL(setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	CHECK_EQUAL(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(server >= 0);
	CHECK_EQUAL(send(client, &byte, 1, MSG_NOSIGNAL), 1);
	CHECK_EQUAL(recv(server, &byte, 1, 0), 1);
	CHECK_EQUAL(close(client), 0);
	CHECK_EQUAL(close(server), 0);
	return (uint64_t)byte;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 50000), i;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(address);
	uint64_t sum = 0;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK_EQUAL(bind(listener, (struct sockaddr *)&address, length), 0);
	CHECK_EQUAL(listen(listener, 8), 0);
	CHECK_EQUAL(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	for (i = 0; i < rounds; i++)
		sum = mix(sum + exchange(listener, (char)i));
	printf("%llx\n", (unsigned long long)sum);
	return 0;
}
