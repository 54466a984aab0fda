-- Tables, sorting, coroutines, errors that are caught.
local numbers, sum = {}, 0

for round = 1, 60 do
	for i = 1, 60000 do
		numbers[i] = (i * round * 7919) % 10007
	end
	table.sort(numbers)
	local next_number = coroutine.wrap(function()
		for i = 1, 1000 do
			coroutine.yield(numbers[i * 7])
		end
	end)
	for _ = 1, 1000 do
		sum = (sum * 31 + next_number()) % 1000000007
	end
	local ok, problem = pcall(function()
		error({ code = round })
	end)
	print(round, sum, ok, problem.code)
end
