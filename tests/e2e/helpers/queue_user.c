/*
 * queue_user NAME: makes the message queue, with two messages in it, asks to be told of more, and says "waiting"; when a
 * file called `go` is in its directory, sends one and receives all that are there: its exit status is how many.
 * queue_user NAME remove: removes it. queue_user NAME leave: makes one and leaves it.
 */
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct mq_attr attributes = {.mq_maxmsg = 5, .mq_msgsize = 16};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	char text[16];
	int received = 0;

	if (argc > 2 && strcmp(argv[2], "leave") == 0)
		return mq_open(argv[1], O_RDWR | O_CREAT, 0600, NULL) < 0;
	if (argc > 2)
		return mq_unlink(argv[1]) < 0;
	mqd_t queue = mq_open(argv[1], O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
	signal(SIGUSR1, SIG_IGN);
	if (queue < 0 || mq_send(queue, "one", 4, 0) < 0 || mq_send(queue, "two", 4, 0) < 0 ||
	    mq_notify(queue, &event) < 0)
		return 99;
	puts("waiting");
	fflush(stdout);
	while (access("go", F_OK))
		usleep(1000);
	if (mq_send(queue, "three", 6, 0) < 0)
		return 98;
	while (mq_receive(queue, text, sizeof(text), NULL) >= 0)
		received++;
	mq_unlink(argv[1]);
	return received;
}
