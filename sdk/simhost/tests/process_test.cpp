// cm.process/1 of the simulation: programs that a test made, in virtual time, with the limits and the end that the real
// host gives them.
#include <claudemesh/ext/process.h>
#include <gtest/gtest.h>

#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/simhost/world.hpp"

namespace cm::sim {
namespace {

// Calls the table as the instance would, and keeps what is told.
class ProcessTest : public ::testing::Test {
 protected:
  ProcessTest() : node(world.add_node("box", "[plugins.pace]\nfile = \"" PACE_LIBRARY "\"\n")) {}
  void SetUp() override {
    ASSERT_TRUE(world.boot(node)) << node.last_error;
    ASSERT_TRUE(world.run_for_ms(1'000, [this] { return node.running(); })) << node.last_error;
    instance = node.find("pace");
    options.size = sizeof(options);
    options.program = {program.data(), program.size()};
    callbacks.size = sizeof(callbacks);
    callbacks.output = [](void* user, cm_handle, std::uint32_t stream, cm_bytes_hview bytes) noexcept {
      auto* self = static_cast<ProcessTest*>(user);
      std::string& target = stream == CM_PROCESS_STDOUT ? self->out : self->err;
      target += bytes.size == 0 ? "<end>" : std::string(reinterpret_cast<const char*>(bytes.data), bytes.size);
    };
    callbacks.input_drained = [](void* user, cm_handle) noexcept { ++static_cast<ProcessTest*>(user)->drained; };
    callbacks.exited = [](void* user, cm_handle, const cm_process_exit* end) noexcept {
      auto* self = static_cast<ProcessTest*>(user);
      ++self->exits;
      self->exit = *end;
      self->text.assign(end->text.data, end->text.size);
      self->exited_us = self->world.scheduler().now_us();
    };
  }
  cm_status spawn() { return table.spawn(instance->self(), &options, &callbacks, this, &process); }
  cm_status write(std::string_view bytes) {
    return table.write(instance->self(), process, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  }
  // Starts it and runs the world until it has ended; how long that took.
  std::uint64_t run() {
    const std::uint64_t begin_us = world.scheduler().now_us();
    EXPECT_EQ(spawn(), CM_OK);
    EXPECT_TRUE(world.run_for_ms(100'000, [this] { return exits != 0; }));
    return (exited_us - begin_us) / 1000;
  }

  World world{WorldOptions{}};
  Node& node;
  Instance* instance = nullptr;
  const cm_process_v1& table = *static_cast<const cm_process_v1*>(find_probed_table(CM_PROCESS_ID));
  const std::string program = "/usr/bin/tool";
  cm_process_options options = {};
  cm_process_callbacks callbacks = {};
  cm_handle process = CM_NO_HANDLE;
  std::string out;
  std::string err;
  std::string text;
  int exits = 0;
  int drained = 0;
  cm_process_exit exit = {};
  std::uint64_t exited_us = 0;
};

TEST_F(ProcessTest, TellsOutputAndHowItEnded) {
  node.add_program(program, Script().out("a").wait_ms(50).err("b").out("c").use_cpu_ms(7).use_memory(1 << 20).exit(3));
  const std::uint64_t took_ms = run();
  EXPECT_EQ(out, "ac<end>");
  EXPECT_EQ(err, "b<end>");
  EXPECT_EQ(exit.reason, CM_PROCESS_EXITED);
  EXPECT_EQ(exit.code, 3);
  EXPECT_EQ(exit.output_bytes, 3u);
  EXPECT_EQ(exit.cpu_us, 7'000u);
  EXPECT_EQ(exit.memory_bytes_peak, std::uint64_t{1} << 20);
  EXPECT_EQ(text, "ended by itself with code 3");
  EXPECT_GE(took_ms, 50u);
  EXPECT_LE(took_ms, 60u);
  EXPECT_EQ(table.kill(instance->self(), process, 0), CM_GONE);
}

TEST_F(ProcessTest, MergesOrDiscardsTheStreams) {
  node.add_program(program, Script().out("a").err("b").out("c"));
  options.flags = CM_PROCESS_MERGE_OUTPUT;
  run();
  EXPECT_EQ(out, "abc<end>");
  EXPECT_EQ(err, "");
  out.clear();
  exits = 0;
  options.flags = CM_PROCESS_DISCARD_OUTPUT;
  run();
  EXPECT_EQ(out + err, "");
}

TEST_F(ProcessTest, AnUnknownProgramIsNotStarted) {
  run();
  EXPECT_EQ(exit.reason, CM_PROCESS_NOT_STARTED);
  EXPECT_EQ(exit.code, -1);
  EXPECT_NE(text.find(program), std::string::npos) << text;
  EXPECT_EQ(instance->holdings().processes, 0u);
}

TEST_F(ProcessTest, GivesTheProgramWhatItWasStartedWith) {
  ProgramStart seen;
  node.add_program(program, Script().call([&seen](ProgramRun& run) { seen = run.start(); }));
  const std::vector<cm_text_pview> arguments = {{"-v", 2}, {"", 0}};
  const std::vector<cm_text_pview> environment = {{"A=1", 3}};
  options.arguments = arguments.data();
  options.argument_count = arguments.size();
  options.environment = environment.data();
  options.environment_count = environment.size();
  run();
  EXPECT_EQ(seen.arguments, (std::vector<std::string>{"-v", ""}));
  EXPECT_EQ(seen.environment, std::vector<std::string>{"A=1"});
  EXPECT_EQ(seen.working_folder, "/");
}

TEST_F(ProcessTest, RefusesWhatTheRealHostRefuses) {
  options.program = {"tool", 4};
  EXPECT_EQ(spawn(), CM_INVALID);
  EXPECT_NE(instance->take_error().find("absolute path"), std::string::npos);
  options.program = {program.data(), program.size()};
  options.descriptors_max = 2;
  EXPECT_EQ(spawn(), CM_INVALID);
  options.descriptors_max = 0;
  node.add_program(program, Script().hang());
  for (std::uint32_t i = 0; i < CM_PROCESS_CHILDREN_MAX; ++i) {
    ASSERT_EQ(spawn(), CM_OK);
  }
  EXPECT_EQ(spawn(), CM_BUSY);
}

TEST_F(ProcessTest, FeedsTheInputAndSaysWhenThereIsRoom) {
  node.add_program(program, Script().wait_ms(10).echo_to_end().wait_ms(5).out("!"));
  options.flags = CM_PROCESS_INPUT;
  options.input_bytes_max = 8;
  ASSERT_EQ(spawn(), CM_OK);
  EXPECT_EQ(write("12345678"), CM_OK);
  EXPECT_EQ(write("9"), CM_BUSY);
  EXPECT_EQ(write("123456789"), CM_BUSY);
  world.run_for_ms(9);
  EXPECT_EQ(drained, 0);
  ASSERT_TRUE(world.run_for_ms(100, [this] { return drained == 1; }));
  EXPECT_EQ(write("123456789"), CM_INVALID);  // can never be taken
  EXPECT_EQ(write("9"), CM_OK);
  EXPECT_EQ(table.close_input(instance->self(), process), CM_OK);
  EXPECT_EQ(table.close_input(instance->self(), process), CM_GONE);
  EXPECT_EQ(write("x"), CM_GONE);
  ASSERT_TRUE(world.run_for_ms(100, [this] { return exits == 1; }));
  EXPECT_EQ(out, "123456789!<end>");
}

TEST_F(ProcessTest, WithoutAPipeTheInputIsEmpty) {
  node.add_program(program, Script().read_to_end().out("done"));
  run();
  EXPECT_EQ(out, "done<end>");
  EXPECT_EQ(spawn(), CM_OK);
  EXPECT_EQ(write("x"), CM_INVALID);
}

TEST_F(ProcessTest, AnInputThatTheProgramClosedIsGone) {
  node.add_program(program, Script().call([](ProgramRun& run) { run.close_input(); }).hang());
  options.flags = CM_PROCESS_INPUT;
  ASSERT_EQ(spawn(), CM_OK);
  world.run_for_ms(50);
  EXPECT_EQ(write("x"), CM_GONE);
}

TEST_F(ProcessTest, TermThenKillWhenItTakesTooLong) {
  node.add_program(program, Script().ignore_terminate().hang());
  options.time_ms_max = 2'000;
  options.grace_ms = 500;
  const std::uint64_t took_ms = run();
  EXPECT_EQ(exit.reason, CM_PROCESS_TIMED_OUT);
  EXPECT_EQ(exit.signal, SIGKILL);
  EXPECT_GE(took_ms, 2'500u);
  EXPECT_LE(took_ms, 2'510u);
  EXPECT_NE(text.find("took longer than 2000 ms"), std::string::npos) << text;
}

TEST_F(ProcessTest, ASecondKillCanOnlyShortenTheGrace) {
  node.add_program(program, Script().ignore_terminate().hang());
  ASSERT_EQ(spawn(), CM_OK);
  world.run_for_ms(50);
  EXPECT_NE(table.process_id(instance->self(), process), 0u);
  EXPECT_EQ(table.kill(instance->self(), process, 1'000), CM_OK);
  EXPECT_EQ(table.kill(instance->self(), process, 5'000), CM_OK);
  world.run_for_ms(999);
  EXPECT_EQ(exits, 0);
  world.run_for_ms(2);
  ASSERT_EQ(exits, 1);
  ASSERT_EQ(spawn(), CM_OK);
  world.run_for_ms(50);
  EXPECT_EQ(table.kill(instance->self(), process, 1'000), CM_OK);
  EXPECT_EQ(table.kill(instance->self(), process, 10), CM_OK);
  world.run_for_ms(11);
  ASSERT_EQ(exits, 2);
  EXPECT_EQ(exit.reason, CM_PROCESS_KILLED);
  EXPECT_EQ(exit.signal, SIGKILL);
}

TEST_F(ProcessTest, AProgramMayTidyUpWhenItIsTerminated) {
  node.add_program(program, Script()
                                .call([](ProgramRun& run) {
                                  run.on_terminate([&run] {
                                    run.out("bye");
                                    run.exit(4);
                                  });
                                })
                                .hang());
  ASSERT_EQ(spawn(), CM_OK);
  EXPECT_EQ(table.kill(instance->self(), process, 1'000), CM_OK);  // before it runs
  world.run_for_ms(50);
  ASSERT_EQ(exits, 1);
  EXPECT_EQ(exit.reason, CM_PROCESS_KILLED);
  EXPECT_EQ(exit.code, 4);
  EXPECT_EQ(out, "bye<end>");
}

TEST_F(ProcessTest, EndsWhatWritesTooMuch) {
  node.add_program(program, Script().out("12345").out("67890").hang());
  options.output_bytes_max = 7;
  run();
  EXPECT_EQ(exit.reason, CM_PROCESS_OUTPUT_LIMIT);
  EXPECT_EQ(out, "1234567<end>");
  EXPECT_EQ(exit.output_bytes, 7u);
}

TEST_F(ProcessTest, LimitsProcessorTimeAndMemory) {
  node.add_program(program, Script().use_memory(1'000).use_memory(4'097).exit(0));
  options.memory_bytes_max = 4'096;
  run();
  EXPECT_EQ(exit.code, 1);
  exits = 0;
  node.add_program(program, Script().use_cpu_ms(1'900).use_cpu_ms(200).exit(0));
  options.cpu_ms_max = 1'500;  // the kernel counts whole seconds
  run();
  EXPECT_EQ(exit.reason, CM_PROCESS_SIGNALED);
  EXPECT_EQ(exit.signal, SIGXCPU);
  EXPECT_EQ(exit.cpu_us, 2'000'000u);
}

TEST_F(ProcessTest, APausedStreamHoldsTheProgramUp) {
  bool wrote_all = false;
  node.add_program(
      program, Script().out(std::string(200'000, 'x')).call([&wrote_all](ProgramRun&) { wrote_all = true; }).exit(0));
  ASSERT_EQ(spawn(), CM_OK);
  EXPECT_EQ(table.pause_output(instance->self(), process, true), CM_OK);
  world.run_for_ms(1'000);
  EXPECT_TRUE(out.empty());
  EXPECT_FALSE(wrote_all);
  EXPECT_EQ(table.pause_output(instance->self(), process, false), CM_OK);
  ASSERT_TRUE(world.run_for_ms(1'000, [this] { return exits == 1; }));
  EXPECT_EQ(out.size(), 200'000u + 5);
  EXPECT_TRUE(wrote_all);
}

TEST_F(ProcessTest, APausedEndWaitsForResumeOrTheTimeLimit) {
  node.add_program(program, Script().out("x").exit(0));
  options.time_ms_max = 400;
  ASSERT_EQ(spawn(), CM_OK);
  table.pause_output(instance->self(), process, true);
  world.run_for_ms(390);
  EXPECT_EQ(exits, 0);
  world.run_for_ms(20);
  ASSERT_EQ(exits, 1);
  EXPECT_EQ(out, "x<end>");
  EXPECT_EQ(exit.reason, CM_PROCESS_EXITED);
}

TEST_F(ProcessTest, AnAbandonedChildTellsNothing) {
  bool late = false;
  node.add_program(program, Script().out("x").wait_ms(10).call([&late](ProgramRun&) { late = true; }).exit(0));
  ASSERT_EQ(spawn(), CM_OK);
  EXPECT_EQ(table.abandon(instance->self(), process), CM_OK);
  EXPECT_EQ(table.abandon(instance->self(), process), CM_GONE);
  world.run_for_ms(100);
  EXPECT_EQ(out, "");
  EXPECT_EQ(exits, 0);
  EXPECT_FALSE(late);
}

TEST_F(ProcessTest, NoProgramOutlivesTheStopAndTheRestIsCounted) {
  int ticks = 0;
  node.add_program(program, [&ticks](ProgramRun& run) {
    run.on_terminate([] {});
    for (std::uint64_t i = 1; i < 100; ++i) {
      run.after_ms(i * 10, [&ticks] { ++ticks; });
    }
  });
  ASSERT_EQ(spawn(), CM_OK);
  const cm_handle asked_to_end = process;
  ASSERT_EQ(spawn(), CM_OK);
  world.run_for_ms(55);
  EXPECT_EQ(instance->holdings().processes, 2u);
  EXPECT_EQ(table.kill(instance->self(), asked_to_end, 10'000), CM_OK);
  const int before = ticks;
  EXPECT_GT(before, 0);
  Holdings left;
  world.shut_down(node, [&] { left = instance->holdings(); });
  world.run_for_ms(5'000);
  EXPECT_EQ(left.processes, 1u);
  EXPECT_EQ(left.text(), "1 child processes");
  EXPECT_EQ(ticks, before);
  EXPECT_EQ(exits, 0);
}

TEST_F(ProcessTest, ACrashEndsAllProgramsWithoutAWord) {
  int ticks = 0;
  node.add_program(program, [&ticks](ProgramRun& run) { run.after_ms(10, [&ticks] { ++ticks; }); });
  ASSERT_EQ(spawn(), CM_OK);
  world.run_for_ms(5);
  world.crash(node);
  world.run_for_ms(1'000);
  EXPECT_EQ(ticks, 0);
  EXPECT_EQ(exits, 0);
}

TEST_F(ProcessTest, TheProbeCountsAndRefuses) {
  node.add_program(program, Script().hang());
  instance->probe().fail_call("cm.process/1 spawn", 2, CM_BUSY);
  EXPECT_EQ(spawn(), CM_OK);
  EXPECT_EQ(spawn(), CM_BUSY);
  EXPECT_EQ(spawn(), CM_OK);
  EXPECT_EQ(instance->probe().calls("cm.process/1 spawn"), 3u);
  EXPECT_EQ(instance->holdings().processes, 2u);
  EXPECT_EQ(table.kill(instance->self(), cm_handle{1} << 60, 0), CM_GONE);
  ASSERT_EQ(instance->probe().breaches().size(), 1u);
  EXPECT_EQ(instance->probe().breaches()[0].breach, Breach::kUnknownHandle);
}

}  // namespace
}  // namespace cm::sim
