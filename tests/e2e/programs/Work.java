import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** A pool of threads, garbage, exceptions, code that is compiled while it runs. */
public class Work {
	private static final int ROUNDS = 60, TASKS = 8, STEPS = 20000;
	private static final ConcurrentHashMap<Long, String> words = new ConcurrentHashMap<>();

	private static long mix(long z) {
		z += 0x9e3779b97f4a7c15L;
		z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
		z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
		return z ^ (z >>> 31);
	}

	private static long work(long seed) {
		List<byte[]> garbage = new ArrayList<>();
		long state = seed;
		for (int i = 0; i < STEPS; i++) {
			state = mix(state);
			if (i % 50 == 0)
				garbage.add(new byte[(int) (state & 4095)]);
			words.put(state & 1023, Long.toHexString(state));
		}
		for (byte[] bytes : garbage)
			state += bytes.length;
		try {
			if ((state & 3) == 0)
				throw new IllegalStateException("state " + state);
		} catch (IllegalStateException e) {
			state += e.getMessage().length();
		}
		return state;
	}

	public static void main(String[] arguments) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(4);
		long sum = 0;
		for (int round = 0; round < ROUNDS; round++) {
			List<Future<Long>> futures = new ArrayList<>();
			for (int task = 0; task < TASKS; task++) {
				final long seed = round * TASKS + task;
				futures.add(pool.submit(() -> work(seed)));
			}
			for (Future<Long> future : futures)
				sum = mix(sum + future.get());
			if (round % 10 == 0) {
				System.out.println(round + " " + Long.toHexString(sum));
				System.gc();
			}
			Thread.sleep(2);
		}
		pool.shutdown();
		System.out.println(words.size());
	}
}
