# Threads, a queue, a mutex, fibers, timed sleeps, a garbage collector at work.
tasks = Queue.new
results = {}
lock = Mutex.new

workers = 4.times.map do
  Thread.new do
    while (number = tasks.pop) != :end
      value = (1..2000).reduce { |a, b| (a * 31 + b * number) % 1_000_003 }
      lock.synchronize { results[number] = value }
    end
  end
end

8000.times do |number|
  tasks << number
  if (number % 100).zero?
    sleep 0.01
    GC.start
  end
end
4.times { tasks << :end }
workers.each(&:join)

fiber = Fiber.new do
  3.times { |i| Fiber.yield i }
  :done
end
puts 4.times.map { fiber.resume }.inspect
results.sort.each { |number, value| puts "#{number} #{value}" }
