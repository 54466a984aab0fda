/*
 * The load of the power cuts: threads change memory in rounds; after each a checkpoint is committed and its number
 * acknowledged on standard output, a serial line that the host reads. What was acknowledged must still
 * be there after any power cut. Before each acknowledgement every byte is checked.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#define THREADS 3
#define PAGES 96 /* of each thread; a round changes a third of them */
#define WORDS 512
#define NODES 400

static uint64_t (*pages[THREADS])[WORDS];
static uint64_t round_number;
static pthread_barrier_t begin, done;

struct node {
	struct node *next;
	uint64_t value[8];
};
static struct node *list;

/* The last round up to `now` that changed this page. */
static uint64_t last_change(uint64_t now, unsigned page)
{
	uint64_t back = (now + page) % 3;
	return now > back ? now - back : 0;
}

static uint64_t value_of(uint64_t round, unsigned thread, unsigned page, unsigned word)
{
	return round == 0 ? 0 : (round * 0x9e3779b97f4a7c15UL) ^ ((uint64_t)thread << 40 | (uint64_t)page << 20 | word);
}

static void *work(void *argument)
{
	unsigned thread = (unsigned)(uintptr_t)argument;
	for (;;) {
		pthread_barrier_wait(&begin);
		for (unsigned page = 0; page < PAGES; page++)
			if (last_change(round_number, page) == round_number)
				for (unsigned word = 0; word < WORDS; word++)
					pages[thread][page][word] = value_of(round_number, thread, page, word);
		pthread_barrier_wait(&done);
	}
	return NULL;
}

static void fail(const char *what, uint64_t got)
{
	printf("wrong %s in round %lu: %lu\n", what, (unsigned long)round_number, (unsigned long)got);
	fflush(stdout);
	fprintf(stderr, "power_load: wrong %s in round %lu: %lu\n", what, (unsigned long)round_number,
		(unsigned long)got);
	exit(1);
}

/* The heap: one node more, and beyond NODES the oldest goes. */
static void change_list(void)
{
	struct node *node = malloc(sizeof(*node) + round_number % 7 * 100);
	node->next = list;
	for (unsigned i = 0; i < 8; i++)
		node->value[i] = round_number + i;
	list = node;
	unsigned count = 0;
	for (struct node **at = &list; *at != NULL; at = &(*at)->next)
		if (++count > NODES) {
			free(*at);
			*at = NULL;
			break;
		}
}

static void check(void)
{
	for (unsigned thread = 0; thread < THREADS; thread++)
		for (unsigned page = 0; page < PAGES; page++)
			for (unsigned word = 0; word < WORDS; word++)
				if (pages[thread][page][word] !=
				    value_of(last_change(round_number, page), thread, page, word))
					fail("page", page);
	uint64_t expected = round_number;
	for (const struct node *node = list; node != NULL; node = node->next, expected--)
		for (unsigned i = 0; i < 8; i++)
			if (node->value[i] != expected + i)
				fail("list", expected);
}

int main(void)
{
	int (*checkpoint)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "respct_checkpoint");
	pthread_t threads[THREADS];
	pthread_barrier_init(&begin, NULL, THREADS + 1);
	pthread_barrier_init(&done, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++) {
		pages[i] =
			mmap(NULL, PAGES * sizeof(**pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (pages[i] == MAP_FAILED || pthread_create(&threads[i], NULL, work, (void *)i) != 0)
			return 1;
	}
	for (;;) {
		round_number++;
		pthread_barrier_wait(&begin);
		change_list();
		pthread_barrier_wait(&done);
		check();
		/* On a slow machine a thread may not come to a stop in time; nothing has happened then. */
		int result;
		do
			result = checkpoint != NULL ? checkpoint() : -ESRCH;
		while (result == -ETIMEDOUT);
		if (result < 0)
			fail("checkpoint", (uint64_t)-result);
		check();
		char line[32];
		int length = snprintf(line, sizeof(line), "ack %lu\n", (unsigned long)round_number);
		if (write(STDOUT_FILENO, line, (size_t)length) != length)
			fail("write", (uint64_t)errno);
		tcdrain(STDOUT_FILENO);
	}
}
