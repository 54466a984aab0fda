/* Everything at once: eight threads share a hash table under striped locks, allocate its nodes,
 * send each other work through pipes and queues, sleep, signal each other and keep state in
 * thread-local storage. Each thread knows what its own keys must hold. */
#include <signal.h>

#include "victim.h"

#define THREADS 8
#define STRIPES 32
#define BUCKETS 4096
#define KEYS_PER_THREAD 3000
#define LOG_SLOTS 128

struct node {
	struct node *next;
	uint64_t key;
	uint32_t version;
	uint32_t length;
	unsigned char value[]; /* derived from key and version */
};

struct stripe {
	pthread_rwlock_t lock;
	uint64_t nodes;
};

/* A message to the next thread: "I did this", checked and added up there. */
struct message {
	uint64_t sequence, amount;
};

struct log {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct message slots[LOG_SLOTS];
	uint64_t head, tail;
};

static struct node *buckets[BUCKETS];
static struct stripe stripes[STRIPES];
static struct log logs[THREADS];                    /* to thread i from thread i - 1 */
static int pipes[THREADS][2];                       /* likewise */
static uint32_t versions[THREADS][KEYS_PER_THREAD]; /* the model: 0 means absent */
static volatile sig_atomic_t signals_seen[THREADS];
static pthread_barrier_t barrier;
static uint64_t results[THREADS];
static long rounds;

static __thread int self;
static __thread uint64_t random_state;
static __thread uint64_t sent, received, received_sum;
static __thread double average;

/* ---- the table ---- */

static uint64_t key_of(int thread, uint64_t index)
{
	return mix((uint64_t)thread << 32 | index);
}

static uint32_t length_of(uint64_t key, uint32_t version)
{
	uint64_t r = mix(key ^ version);

	return r % 50 == 0 ? (uint32_t)(r >> 32) % 20000 : (uint32_t)(r >> 32) % 300;
}

static unsigned char value_byte(uint64_t key, uint32_t version, uint32_t position)
{
	return (unsigned char)(mix(key + version) >> position % 8 * 8) ^ (unsigned char)position;
}

static struct node *make_node(uint64_t key, uint32_t version)
{
	uint32_t length = length_of(key, version), i;
	struct node *node = malloc(sizeof(*node) + length);

	CHECK(node);
	*node = (struct node){NULL, key, version, length};
	for (i = 0; i < length; i++)
		node->value[i] = value_byte(key, version, i);
	return node;
}

static void check_node(const struct node *node)
{
	uint32_t i;

	CHECK_EQUAL(node->length, length_of(node->key, node->version));
	for (i = 0; i < node->length; i++)
		CHECK_EQUAL(node->value[i], value_byte(node->key, node->version, i));
}

static struct node **find(uint64_t key)
{
	struct node **link = &buckets[key % BUCKETS];

	while (*link && (*link)->key != key)
		link = &(*link)->next;
	return link;
}

static struct stripe *stripe_of(uint64_t key)
{
	return &stripes[key % BUCKETS % STRIPES];
}

static void put(uint64_t key, uint32_t version)
{
	struct stripe *stripe = stripe_of(key);
	struct node *node = make_node(key, version), **link, *old;

	CHECK_EQUAL(pthread_rwlock_wrlock(&stripe->lock), 0);
	link = find(key);
	old = *link;
	node->next = old ? old->next : NULL;
	*link = node;
	stripe->nodes += !old;
	CHECK_EQUAL(pthread_rwlock_unlock(&stripe->lock), 0);
	if (old)
		check_node(old);
	free(old);
}

static void drop(uint64_t key)
{
	struct stripe *stripe = stripe_of(key);
	struct node **link, *old;

	CHECK_EQUAL(pthread_rwlock_wrlock(&stripe->lock), 0);
	link = find(key);
	old = *link;
	CHECK(old);
	*link = old->next;
	stripe->nodes--;
	CHECK_EQUAL(pthread_rwlock_unlock(&stripe->lock), 0);
	check_node(old);
	free(old);
}

/* 0 when absent. */
static uint32_t look_up(uint64_t key)
{
	struct stripe *stripe = stripe_of(key);
	uint32_t version = 0;
	struct node *node;

	CHECK_EQUAL(pthread_rwlock_rdlock(&stripe->lock), 0);
	node = *find(key);
	if (node) {
		check_node(node);
		version = node->version;
	}
	CHECK_EQUAL(pthread_rwlock_unlock(&stripe->lock), 0);
	return version;
}

static void work_on_table(void)
{
	uint64_t index = next_random(&random_state) % KEYS_PER_THREAD, key = key_of(self, index);
	uint32_t *version = &versions[self][index];

	switch (next_random(&random_state) % 4) {
	case 0:
		if (*version)
			drop(key);
		*version = 0;
		break;
	case 1:
		*version = (uint32_t)next_random(&random_state) | 1;
		put(key, *version);
		break;
	default: CHECK_EQUAL(look_up(key), *version);
	}
}

/* Somebody else's key: any version will do, but a whole node. */
static void peek(void)
{
	uint64_t r = next_random(&random_state);

	look_up(key_of((int)(r % THREADS), (r >> 8) % KEYS_PER_THREAD));
}

/* ---- messages ---- */

static void take_message(const struct message *message)
{
	int from = (self + THREADS - 1) % THREADS;

	CHECK_EQUAL(message->sequence, received);
	CHECK_EQUAL(message->amount, mix(message->sequence * THREADS + (uint64_t)from));
	received++;
	received_sum += message->amount;
}

static void receive_log(struct log *log, bool wait)
{
	CHECK_EQUAL(pthread_mutex_lock(&log->mutex), 0);
	while (wait && log->head == log->tail) {
		struct timespec deadline = to_timespec(clock_ns(CLOCK_REALTIME) + MILLISECOND);

		pthread_cond_timedwait(&log->changed, &log->mutex, &deadline);
	}
	while (log->head != log->tail)
		take_message(&log->slots[log->head++ % LOG_SLOTS]);
	pthread_cond_broadcast(&log->changed);
	CHECK_EQUAL(pthread_mutex_unlock(&log->mutex), 0);
}

/* Everybody sends and receives, so a full log is emptied by its reader sooner or later; while
 * waiting, a thread goes on receiving, or all would wait in a ring. */
static void send_log(struct log *log)
{
	struct message message = {sent, mix(sent * THREADS + (uint64_t)self)};
	bool done = false;

	while (!done) {
		CHECK_EQUAL(pthread_mutex_lock(&log->mutex), 0);
		done = log->tail - log->head < LOG_SLOTS;
		if (done)
			log->slots[log->tail++ % LOG_SLOTS] = message;
		pthread_cond_broadcast(&log->changed);
		CHECK_EQUAL(pthread_mutex_unlock(&log->mutex), 0);
		if (!done)
			receive_log(&logs[self], false);
	}
	sent++;
}

/* Every thread writes one record and then reads one, so no pipe ever fills. */
static void exchange_over_pipes(long round)
{
	uint64_t out[3] = {(uint64_t)round, mix((uint64_t)round + (uint64_t)self), (uint64_t)self}, in[3];
	int from = (self + THREADS - 1) % THREADS;

	CHECK_EQUAL(write(pipes[(self + 1) % THREADS][1], out, sizeof(out)), sizeof(out));
	CHECK_EQUAL(read(pipes[self][0], in, sizeof(in)), sizeof(in));
	CHECK_EQUAL(in[0], round);
	CHECK_EQUAL(in[1], mix((uint64_t)round + (uint64_t)from));
	received_sum += in[1] ^ in[2];
}

/* ---- signals ---- */

static void on_signal(int number)
{
	(void)number;
	signals_seen[self]++;
}

static void signal_self(void)
{
	int before = signals_seen[self];

	CHECK_EQUAL(pthread_kill(pthread_self(), SIGUSR1), 0);
	CHECK_EQUAL(signals_seen[self], before + 1);
}

/* ---- threads ---- */

static void one_round(long round)
{
	work_on_table();
	if (round % 2 == 0)
		peek();
	if (round % 4 == 0)
		send_log(&logs[(self + 1) % THREADS]);
	if (round % 8 == 0)
		receive_log(&logs[self], false);
	if (round % 64 == 0)
		exchange_over_pipes(round);
	if (round % 256 == 0)
		signal_self();
	if (round % 4096 == 0)
		usleep(1000);
	if (round % 8192 == 0)
		pthread_barrier_wait(&barrier);
	average = average * 0.999 + (double)(round % 1000) * 0.001;
}

static uint64_t check_own_keys(void)
{
	uint64_t index, sum = 0;

	for (index = 0; index < KEYS_PER_THREAD; index++) {
		CHECK_EQUAL(look_up(key_of(self, index)), versions[self][index]);
		sum += mix(index ^ versions[self][index]);
	}
	return sum;
}

static void *worker(void *argument)
{
	uint64_t bits;
	long round;

	self = (int)(intptr_t)argument;
	random_state = (uint64_t)self * 1000;
	for (round = 0; round < rounds; round++)
		one_round(round);
	while (received < (uint64_t)(rounds + 3) / 4)
		receive_log(&logs[self], true);
	pthread_barrier_wait(&barrier);
	memcpy(&bits, &average, sizeof(bits));
	results[self] = check_own_keys() + received_sum + bits + (uint64_t)signals_seen[self];
	return NULL;
}

static void init(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	int i;

	CHECK_EQUAL(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQUAL(pthread_barrier_init(&barrier, NULL, THREADS), 0);
	for (i = 0; i < STRIPES; i++)
		CHECK_EQUAL(pthread_rwlock_init(&stripes[i].lock, NULL), 0);
	for (i = 0; i < THREADS; i++) {
		CHECK_EQUAL(pipe(pipes[i]), 0);
		CHECK_EQUAL(pthread_mutex_init(&logs[i].mutex, NULL), 0);
		CHECK_EQUAL(pthread_cond_init(&logs[i].changed, NULL), 0);
	}
}

/* The table holds the threads' keys and nothing else. */
static void check_table(void)
{
	uint64_t counted = 0, modelled = 0, i, t;
	struct node *node;

	for (i = 0; i < BUCKETS; i++)
		for (node = buckets[i]; node; node = node->next)
			counted++;
	for (t = 0; t < THREADS; t++)
		for (i = 0; i < KEYS_PER_THREAD; i++)
			modelled += versions[t][i] != 0;
	CHECK_EQUAL(counted, modelled);
	for (i = 0; i < STRIPES; i++)
		counted -= stripes[i].nodes;
	CHECK_EQUAL(counted, 0);
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 120000);
	init();
	run_threads(THREADS, worker);
	check_table();
	for (i = 0; i < THREADS; i++)
		printf("hard %d: %016llx\n", i, (unsigned long long)results[i]);
	return 0;
}
