/*
 * Timers that call a function (SIGEV_THREAD): libc serves them with a thread that blocks every
 * signal, which cannot be captured. Here an ordinary thread does: the kernel signals it, and it
 * starts the function in a thread of its own, as POSIX has it. And timer descriptors.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "descriptor/descriptor.h"
#include "next.h"
#include "root.h"
#include "shim/memory/heap.h"

#define TIMER_SIGNAL (SIGRTMAX - 4) /* to the serving thread alone */

struct function_timer {
	timer_t timer;
	void (*function)(union sigval);
	union sigval value;
	pthread_attr_t attributes;
	bool deleted;
	struct function_timer *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct function_timer *timers; /* never freed while a signal of theirs may be on its way */
static pid_t server;                  /* the serving thread; 0: none */
static pthread_cond_t server_started = PTHREAD_COND_INITIALIZER;

static void *call_function(void *argument)
{
	const struct function_timer *timer = argument;
	timer->function(timer->value);
	return NULL;
}

static void expire(struct function_timer *timer)
{
	pthread_t thread;
	shim_heap_lock(&lock);
	bool deleted = timer->deleted;
	shim_heap_unlock(&lock);
	if (!deleted && pthread_create(&thread, &timer->attributes, call_function, timer) == 0)
		pthread_detach(thread);
}

static void *serve_timers(void *unused)
{
	sigset_t set;
	siginfo_t info;
	sigfillset(&set);
	sigdelset(&set, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, TIMER_SIGNAL);
	shim_heap_lock(&lock);
	server = gettid();
	pthread_cond_broadcast(&server_started);
	shim_heap_unlock(&lock);
	for (;;)
		if (sigwaitinfo(&set, &info) == TIMER_SIGNAL && info.si_code == SI_TIMER)
			expire(info.si_value.sival_ptr);
	return unused;
}

/* Starts the serving thread once; every signal is blocked in it from its first instruction. */
static int need_server(void)
{
	sigset_t all, mask;
	pthread_t thread;
	if (server != 0)
		return 0;
	rt_root.own_signals |= 1UL << (TIMER_SIGNAL - 1);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	int result = pthread_create(&thread, NULL, serve_timers, NULL);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (result != 0)
		return result;
	pthread_detach(thread);
	while (server == 0)
		pthread_cond_wait(&server_started, &lock);
	return 0;
}

static struct function_timer *make_timer(const struct sigevent *event)
{
	struct function_timer *timer = calloc(1, sizeof(*timer));
	if (timer == NULL)
		return NULL;
	timer->function = event->sigev_notify_function;
	timer->value = event->sigev_value;
	if (event->sigev_notify_attributes != NULL)
		timer->attributes = *event->sigev_notify_attributes;
	else
		pthread_attr_init(&timer->attributes);
	return timer;
}

static int create_function_timer(clockid_t clock, const struct sigevent *event, timer_t *result)
{
	struct function_timer *timer = make_timer(event);
	if (timer == NULL)
		return EAGAIN;
	struct sigevent own = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = TIMER_SIGNAL,
		.sigev_value.sival_ptr = timer,
		._sigev_un._tid = server,
	};
	if (SHIM_NEXT(timer_create)(clock, &own, &timer->timer) < 0) {
		free(timer);
		return errno;
	}
	timer->next = timers;
	timers = timer;
	*result = timer->timer;
	return 0;
}

SHIM_EXPORT int timer_create(clockid_t clock, struct sigevent *restrict event, timer_t *restrict timer)
{
	if (event == NULL || event->sigev_notify != SIGEV_THREAD || !rt_is_protected())
		return SHIM_NEXT(timer_create)(clock, event, timer);
	shim_heap_lock(&lock);
	int error = need_server();
	if (error == 0)
		error = create_function_timer(clock, event, timer);
	shim_heap_unlock(&lock);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

SHIM_EXPORT int timer_delete(timer_t timer)
{
	shim_heap_lock(&lock);
	for (struct function_timer *own = timers; own != NULL; own = own->next)
		if (own->timer == timer && !own->deleted)
			own->deleted = true;
	shim_heap_unlock(&lock);
	return SHIM_NEXT(timer_delete)(timer);
}

/* The kernel does not tell one that is just due from one that is not set: see runtime/descriptor/timerfd.c. */
SHIM_EXPORT int timerfd_settime(int fd, int flags, const struct itimerspec *setting, struct itimerspec *old)
{
	bool is_set = setting != NULL && (setting->it_value.tv_sec != 0 || setting->it_value.tv_nsec != 0);
	if (is_set)
		rt_descriptors_note_timer(fd, true);
	int result = SHIM_NEXT(timerfd_settime)(fd, flags, setting, old);
	if (result == 0)
		rt_descriptors_note_timer(fd, is_set);
	return result;
}
