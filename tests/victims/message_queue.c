/* POSIX message queues, of which one has lost its name: after a restore they are open as before. Their messages are not
 * rolled back, so one that is late is not waited for, and one that is not the last is passed over. */
#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <time.h>

#include "victim.h"

#define MOST 4
#define BYTES 64
#define PATIENCE_MS 100

struct message {
	uint64_t number, value;
};

struct queue {
	mqd_t in, out;
};

static struct queue open_queue(const char *name, bool keep)
{
	struct mq_attr attributes = {.mq_maxmsg = MOST, .mq_msgsize = BYTES};
	struct queue queue;

	mq_unlink(name);
	queue.out = mq_open(name, O_WRONLY | O_CREAT | O_EXCL, 0640, &attributes);
	CHECK(queue.out >= 0);
	queue.in = mq_open(name, O_RDONLY);
	CHECK(queue.in >= 0);
	if (!keep)
		CHECK_EQUAL(mq_unlink(name), 0);
	return queue;
}

static void check(const struct queue *queue, const char *name, bool keep)
{
	struct mq_attr attributes;
	struct stat in, out;
	mqd_t other;

	CHECK_EQUAL(mq_getattr(queue->in, &attributes), 0);
	CHECK_EQUAL(attributes.mq_maxmsg, MOST);
	CHECK_EQUAL(attributes.mq_msgsize, BYTES);
	CHECK_EQUAL(attributes.mq_flags, 0);
	CHECK_EQUAL(fcntl(queue->in, F_GETFL) & O_ACCMODE, O_RDONLY);
	CHECK_EQUAL(fcntl(queue->out, F_GETFL) & O_ACCMODE, O_WRONLY);
	CHECK_EQUAL(fstat(queue->in, &in), 0);
	CHECK_EQUAL(fstat(queue->out, &out), 0);
	CHECK_EQUAL(in.st_ino, out.st_ino);
	CHECK_EQUAL(in.st_mode & 0777, 0640);
	other = mq_open(name, O_RDONLY);
	CHECK_EQUAL(other >= 0, keep);
	if (keep)
		CHECK_EQUAL(mq_close(other), 0);
}

static uint64_t exchange(const struct queue *queue, uint64_t number)
{
	struct message message = {number, mix(number)};
	char buffer[BYTES];

	for (;;) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		CHECK_EQUAL(mq_timedsend(queue->out, (char *)&message, sizeof(message), 0, &until) == 0 ||
				    errno == ETIMEDOUT,
			    true);
		for (;;) {
			struct message got;
			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_nsec += PATIENCE_MS * 1000000L;
			until.tv_sec += until.tv_nsec / 1000000000L;
			until.tv_nsec %= 1000000000L;
			ssize_t length = mq_timedreceive(queue->in, buffer, sizeof(buffer), NULL, &until);
			if (length < 0) {
				CHECK_EQUAL(errno, ETIMEDOUT);
				break; /* it was received after the checkpoint */
			}
			CHECK_EQUAL(length, sizeof(got));
			memcpy(&got, buffer, sizeof(got));
			CHECK_EQUAL(got.value, mix(got.number));
			if (got.number == number)
				return got.value;
		}
	}
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 3000), i;
	char kept[64], gone[64];
	struct queue queues[2];
	uint64_t hash = 0;

	snprintf(kept, sizeof(kept), "/respct-victim-%d", (int)getpid());
	snprintf(gone, sizeof(gone), "/respct-victim-%d-gone", (int)getpid());
	queues[0] = open_queue(kept, true);
	queues[1] = open_queue(gone, false);
	for (i = 0; i < rounds; i++) {
		hash = mix(hash ^ exchange(&queues[i % 2], (uint64_t)i));
		spin(0, 50000);
		if (i % 100 == 0) {
			check(&queues[0], kept, true);
			check(&queues[1], gone, false);
		}
	}
	CHECK_EQUAL(mq_unlink(kept), 0);
	printf("message_queue: %016llx\n", (unsigned long long)hash);
	return 0;
}
