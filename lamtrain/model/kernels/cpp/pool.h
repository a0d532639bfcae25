// Threads that sleep while there is nothing to do: work is cut into parts, and whoever is free takes the next one.
//
// Nothing spins, and nobody waits for a thread that has not begun: where another process holds a core, the caller does the parts itself.
#pragma once
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace lam {
// Whether numbers too small for full precision are zero, as the caller set it for its own thread.
struct Rounding {
#if defined(__SSE2__)
  unsigned state = _mm_getcsr();
  void set() const { _mm_setcsr(state); }
#elif defined(__aarch64__)
  uint64_t state;
  Rounding() { __asm__ volatile("mrs %0, fpcr" : "=r"(state)); }
  void set() const { __asm__ volatile("msr fpcr, %0" : : "r"(state)); }
#else
  void set() const {}
#endif
};

class Pool {
 public:
  // The pool of this process; one that is forked begins with a pool without threads. It is never destroyed: its threads sleep until the end.
  static Pool& here() {
    static Pool* pool = [] {
#if defined(__unix__) || defined(__APPLE__)
      pthread_atfork(nullptr, nullptr, [] { new (&here()) Pool; });
#endif
      return new Pool;
    }();
    return *pool;
  }

  // Calls body(part) for every part, on at most `threads` threads, this one among them; rethrows what a part threw.
  void run(int64_t parts, int threads, const std::function<void(int64_t)>& body) {
    std::unique_lock hold(lock);
    if (threads < 2 || parts < 2 || job) {  // `job`: another thread of the caller's is at it
      hold.unlock();
      for (int64_t part = 0; part < parts; ++part) body(part);
      return;
    }
    Job mine{&body, parts, std::min<int64_t>(threads, parts) - 1};
    job = &mine;
    for (; workers < mine.helpers; ++workers) std::thread(&Pool::work, this).detach();
    for (int64_t k = 0; k < mine.helpers; ++k) wake.notify_one();
    take_parts(mine, hold);
    finished.wait(hold, [&] { return mine.left == 0; });
    job = nullptr;
    hold.unlock();
    if (mine.error) std::rethrow_exception(mine.error);
  }

 private:
  struct Job {
    const std::function<void(int64_t)>* body;
    int64_t parts, helpers, next = 0, left = parts, joined = 0;
    Rounding rounding{};
    std::exception_ptr error{};
  };
  std::mutex lock;
  std::condition_variable wake, finished;
  Job* job = nullptr;
  int64_t workers = 0;

  void work() {
    std::unique_lock hold(lock);
    for (;;) {
      wake.wait(hold, [&] { return job && job->next < job->parts && job->joined < job->helpers; });
      Job& current = *job;
      ++current.joined;
      current.rounding.set();
      take_parts(current, hold);
    }
  }
  // With the lock held, before and after. The job lives until no part of it is left.
  void take_parts(Job& from, std::unique_lock<std::mutex>& hold) {
    while (from.next < from.parts) {
      const int64_t part = from.next++;
      std::exception_ptr error;
      hold.unlock();
      try {
        (*from.body)(part);
      } catch (...) {
        error = std::current_exception();
      }
      hold.lock();
      if (error) from.error = error;
      if (--from.left == 0) {
        finished.notify_all();
        return;  // the job may be gone once the lock is
      }
    }
  }
};
}  // namespace lam
