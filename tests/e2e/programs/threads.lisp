; Threads of SBCL that fill tables, so that its collector, which stops them by signals and protects pages, has work.
(defun digest (text)
  (let ((sum 7)) (loop for c across text do (setf sum (mod (+ (* sum 31) (char-code c)) 1000003))) sum))

(defun work (seed count)
  (let ((table (make-hash-table :test 'equal)) (x seed) (sum 0))
    (dotimes (i count)
      (setf x (mod (+ (* x 1103515245) 12345) 2147483648))
      (let ((key (format nil "k~d" (mod x 5000))))
        (push i (gethash key table))
        (when (> (length (gethash key table)) 20) (setf (gethash key table) nil))))
    (maphash (lambda (k v) (setf sum (mod (+ sum (digest k) (reduce #'+ v)) 1000000007))) table)
    sum))

(defun factorial (n) (if (< n 2) 1 (* n (factorial (1- n)))))

(let ((threads (loop for i from 1 to 3
                     collect (let ((i i)) (sb-thread:make-thread (lambda () (work i 250000)))))))
  (dotimes (i 40)
    (format t "~d ~d~%" i (mod (factorial (+ 1500 i)) 1000000007))
    (finish-output)
    (handler-case (error "condition ~d" i) (error (condition) (format t "~a~%" condition))))
  (dolist (thread threads) (format t "~d~%" (sb-thread:join-thread thread))))
