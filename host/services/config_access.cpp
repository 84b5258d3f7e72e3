#include "host/services/config_access.hpp"

#include <claudemesh/ext/host.h>

#include "host/services/host_view.hpp"

namespace cm::host {

const config::ValidatedOptions* ConfigAccess::options(std::uint32_t which) const noexcept {
  switch (which) {
    case CM_CONFIG_ACTIVE:
      return active_.get();
    case CM_CONFIG_CANDIDATE:
      return candidate_.get();
    default:
      return nullptr;
  }
}

void ConfigAccess::finish(bool commit) {
  if (commit && candidate_ != nullptr) {
    active_ = std::move(candidate_);
  }
  candidate_.reset();
}

std::string_view ConfigAccess::keep(std::string_view text) {
  if (text.empty()) {
    return "";
  }
  const auto known = kept_.find(text);
  if (known != kept_.end()) {
    return known->first;
  }
  config::SecretText kept(text);
  const std::string_view view = kept.view();
  kept_.emplace(view, std::move(kept));
  return view;
}

namespace {

// A text for the plugin.
cm_text_hview kept_view(cm_handle self, std::string_view text) {
  return view_of(InstanceDirectory::find(self)->holdings->config->keep(text));
}

// Finds the set of options and calls `read(options)`, which answers a Result; stores its value through `store`.
template <typename Read, typename Store>
cm_status read_option(cm_handle self, uint32_t which, Read&& read, Store&& store) noexcept {
  const Admission admission = admit_loop(self, HostTable::kConfig, "cm.config/1");
  if (admission.instance == nullptr) {
    return admission.status;
  }
  const config::ValidatedOptions* options = admission.instance->holdings->config->options(which);
  if (options == nullptr) {
    return refuse(*admission.instance, make_error(ErrorCode::kInvalid, "there is no candidate configuration now"));
  }
  auto value = read(*options);
  if (!value) {
    return refuse(*admission.instance, value.error());
  }
  return store(*value);
}

cm_text_hview config_instance_name(cm_handle self) noexcept {
  const Admission admission = admit_loop(self, HostTable::kConfig, "cm.config/1 instance_name");
  return admission.instance != nullptr ? view_of(admission.instance->name()) : cm_text_hview{nullptr, 0};
}

cm_status config_get_bool(cm_handle self, uint32_t which, cm_text_pview option, bool* out) noexcept {
  if (out == nullptr) {
    return CM_INVALID;
  }
  return read_option(
      self, which, [&](const auto& options) { return options.get_bool(text_of(option)); },
      [out](bool value) {
        *out = value;
        return CM_OK;
      });
}

cm_status config_get_int(cm_handle self, uint32_t which, cm_text_pview option, int64_t* out) noexcept {
  if (out == nullptr) {
    return CM_INVALID;
  }
  return read_option(
      self, which, [&](const auto& options) { return options.get_int(text_of(option)); },
      [out](std::int64_t value) {
        *out = value;
        return CM_OK;
      });
}

cm_status config_get_float(cm_handle self, uint32_t which, cm_text_pview option, double* out) noexcept {
  if (out == nullptr) {
    return CM_INVALID;
  }
  return read_option(
      self, which, [&](const auto& options) { return options.get_float(text_of(option)); },
      [out](double value) {
        *out = value;
        return CM_OK;
      });
}

cm_status config_get_text(cm_handle self, uint32_t which, cm_text_pview option, cm_text_hview* out) noexcept {
  if (out == nullptr) {
    return CM_INVALID;
  }
  return read_option(
      self, which, [&](const auto& options) { return options.get_text(text_of(option)); },
      [self, out](std::string_view value) {
        *out = kept_view(self, value);
        return CM_OK;
      });
}

cm_status config_list_size(cm_handle self, uint32_t which, cm_text_pview option, uint64_t* out) noexcept {
  if (out == nullptr) {
    return CM_INVALID;
  }
  return read_option(
      self, which, [&](const auto& options) { return options.get_list(text_of(option)); },
      [out](std::span<const std::string> value) {
        *out = value.size();
        return CM_OK;
      });
}

cm_status config_list_text(cm_handle self, uint32_t which, cm_text_pview option, uint64_t index,
                           cm_text_hview* out) noexcept {
  if (out == nullptr) {
    return CM_INVALID;
  }
  return read_option(
      self, which, [&](const auto& options) { return options.get_list(text_of(option)); },
      [self, out, index](std::span<const std::string> value) {
        if (index >= value.size()) {
          return CM_INVALID;
        }
        *out = kept_view(self, value[index]);
        return CM_OK;
      });
}

constexpr cm_config_v1 kConfigTable = {sizeof(cm_config_v1), 0,
                                       config_instance_name, config_get_bool,
                                       config_get_int,       config_get_float,
                                       config_get_text,      config_list_size,
                                       config_list_text};

}  // namespace

const void* config_table() noexcept {
  return &kConfigTable;
}

}  // namespace cm::host
