// {{name}}: refuses messages that contain a forbidden word.
#include <claudemesh/ext/hook.h>
#include <claudemesh/cpp/plugin.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return result;
}

// The first of the words (lower case) that the text contains, or null. Pure.
const std::string* find_word(const std::vector<std::string>& words, std::string_view text) {
  const std::string searched = lower(text);
  const auto found = std::find_if(words.begin(), words.end(),
                                  [&](const std::string& word) { return searched.find(word) != std::string::npos; });
  return found == words.end() ? nullptr : &*found;
}

class {{Name}} final : public cm::PluginInstance {
 public:
  explicit {{Name}}(const cm_host* host) : PluginInstance(host) {}

  // Without these the host's `configure` is refused in words.
  std::vector<cm::TableNeed> required_tables() const override { return {cm::need<cm_config_v1>(CM_CONFIG_ID)}; }
  cm::Status configure() override {
    words_ = read_words(CM_CONFIG_ACTIVE);
    refused_ = host().counter("{{name}}_refused_total", "", "Messages refused");
    return check(words_);
  }
  void start(Done started) override { started(cm::Status()); }
  const void* extension(std::string_view id) override { return id == CM_HOOK_ID ? &hook_ : nullptr; }

  cm::Status reload_prepare() override { return check(read_words(CM_CONFIG_CANDIDATE)); }
  void reload_finish(bool commit) override {
    if (commit) {
      words_ = read_words(CM_CONFIG_ACTIVE);
    }
  }

 private:
  std::vector<std::string> read_words(std::uint32_t which) const {
    std::vector<std::string> words = host().option_list("words", which);
    std::transform(words.begin(), words.end(), words.begin(), lower);
    return words;
  }
  static cm::Status check(const std::vector<std::string>& words) {
    const bool good = std::none_of(words.begin(), words.end(), [](const std::string& word) { return word.empty(); });
    return good ? cm::Status()
                : cm::make_error(cm::ErrorCode::kInvalid,
                                 "found an empty word in `words`; expected at least one letter");
  }

  // The instance of an extension is the object that the factory made, seen as its base.
  static std::uint32_t invoke(void* instance, const cm_hook_event* event, const cm_hook_reply* reply) noexcept {
    return static_cast<{{Name}}*>(static_cast<cm::PluginInstance*>(instance))->decide(*event, *reply);
  }
  std::uint32_t decide(const cm_hook_event& event, const cm_hook_reply& reply) {
    if (cm::to_view(event.point) != "daemon.send") {
      return CM_HOOK_CONTINUE;  // a point that we do not know
    }
    const std::string* word = find_word(words_, cm::to_view(event.payload));
    if (word == nullptr) {
      return CM_HOOK_CONTINUE;
    }
    refused_.add();
    const std::string text = "this message contains the forbidden word " + *word;
    reply.set_payload(reply.context, event.ticket, cm::to_bytes_pview(std::string_view(text)));
    return CM_HOOK_DENY;
  }

  // A guard: an error of ours refuses the message.
  cm_hook_v1 hook_ = {sizeof(cm_hook_v1), CM_HOOK_GUARD, 100, 0, &{{Name}}::invoke};
  std::vector<std::string> words_;
  cm::Metric refused_;
};

}  // namespace

CM_DEFINE_PLUGIN({{Name}});
