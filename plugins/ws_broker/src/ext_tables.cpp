// The tables cm.broker.messages/1 and cm.broker.delivery/1: from the ABI to the objects.
#include "plugins/ws_broker/src/ext_messages.hpp"
#include "plugins/ws_broker/src/plugin.hpp"

namespace cm::broker {

namespace {

BrokerPlugin& plugin_of(void* instance) noexcept {
  return *static_cast<BrokerPlugin*>(static_cast<PluginInstance*>(instance));
}

MessagesExtension& messages_of(void* instance) noexcept {
  return plugin_of(instance).broker().messages();
}

constexpr cm_broker_messages_v1 kMessages = {
    sizeof(cm_broker_messages_v1),
    0,
    [](void* i, cm_handle caller, cm_text_pview type, cm_broker_request_handler handler, void* user) noexcept {
      return messages_of(i).serve_type(caller, to_view(type), handler, user);
    },
    [](void* i, cm_handle caller, cm_text_pview type, cm_broker_request_handler handler, void* user) noexcept {
      return messages_of(i).add_contributor(caller, to_view(type), handler, user);
    },
    [](void* i, cm_handle caller, cm_text_pview prefix, cm_broker_target_handler handler, void* user) noexcept {
      return messages_of(i).serve_prefix(caller, to_view(prefix), handler, user);
    },
    [](void* i, cm_handle caller, cm_text_pview method, cm_text_pview pattern, cm_broker_http_handler handler,
       void* user) noexcept {
      return messages_of(i).serve_http(caller, to_view(method), to_view(pattern), handler, user);
    },
    [](void* i, cm_handle caller, cm_handle request, cm_text_pview json) noexcept {
      return messages_of(i).reply(caller, request, to_view(json));
    },
    [](void* i, cm_handle caller, cm_handle request) noexcept { return messages_of(i).no_reply(caller, request); },
    [](void* i, cm_handle caller, cm_handle request, cm_text_pview code, cm_text_pview message) noexcept {
      return messages_of(i).error(caller, request, to_view(code), to_view(message));
    },
    [](void* i, cm_handle caller, cm_handle request, const cm_broker_audience* audience) noexcept {
      return messages_of(i).route(caller, request, *audience);
    },
    [](void* i, cm_handle caller, cm_handle request, std::uint32_t status, const cm_http_header* headers,
       std::uint64_t header_count, cm_bytes_pview body) noexcept {
      return messages_of(i).http_respond(caller, request, status, headers, header_count, body);
    },
    [](void* i, cm_handle caller, cm_handle request, cm_text_pview name) noexcept {
      return messages_of(i).http_header(caller, request, to_view(name));
    },
    [](void* i, cm_handle caller, cm_handle request, cm_text_pview name) noexcept {
      return messages_of(i).http_path_parameter(caller, request, to_view(name));
    },
    [](void* i, cm_handle, const cm_broker_to* to, cm_text_pview json, std::uint64_t* out_count) noexcept {
      return messages_of(i).push(*to, to_view(json), out_count);
    },
    [](void* i, cm_handle, const cm_broker_to* to, const cm_broker_event* event, std::uint64_t* out_count) noexcept {
      return messages_of(i).push_event(*to, *event, out_count);
    },
    [](void* i, cm_handle, cm_broker_mesh_row row, void* user) noexcept { return messages_of(i).meshes(row, user); },
    [](void* i, cm_handle, cm_text_pview mesh_id, cm_broker_member_row row, void* user) noexcept {
      return messages_of(i).members(to_view(mesh_id), row, user);
    },
    [](void* i, cm_handle, cm_text_pview mesh_id, cm_broker_presence_row row, void* user) noexcept {
      return messages_of(i).presences(to_view(mesh_id), row, user);
    },
    [](void* i, cm_handle, cm_handle presence, cm_broker_presence_row row, void* user) noexcept {
      return messages_of(i).presence(presence, row, user);
    },
    [](void* i, cm_handle caller, const cm_broker_watch* callbacks, void* user, cm_handle* out_watch) noexcept {
      return messages_of(i).watch(caller, *callbacks, user, out_watch);
    },
    [](void* i, cm_handle caller, cm_handle watch) noexcept { messages_of(i).unwatch(caller, watch); },
    [](void* i, cm_handle, cm_text_pview mesh_id, cm_text_pview event_type, cm_text_pview actor,
       cm_text_pview payload) noexcept {
      return messages_of(i).audit(to_view(mesh_id), to_view(event_type), to_view(actor), to_view(payload));
    }};

constexpr cm_broker_delivery_v1 kDelivery = {
    sizeof(cm_broker_delivery_v1),
    0,
    [](void* i, cm_handle caller, const cm_broker_way* way, void* user, cm_handle* out_way) noexcept {
      return plugin_of(i).broker().ways().add_way(caller, *way, user, out_way);
    },
    [](void* i, cm_handle caller, cm_handle way) noexcept { plugin_of(i).broker().ways().remove_way(caller, way); },
    [](void* i, cm_handle caller, cm_handle offer, std::uint32_t outcome, std::uint64_t retry_after_ms,
       cm_text_pview reason) noexcept {
      return plugin_of(i).broker().ways().confirm(caller, offer, outcome, retry_after_ms, to_view(reason));
    },
    [](void* i, cm_handle caller, cm_handle way, cm_text_pview mesh_id, cm_text_pview member_id) noexcept {
      return plugin_of(i).broker().ways().reachable(caller, way, to_view(mesh_id), to_view(member_id));
    }};

}  // namespace

const void* BrokerPlugin::extension(std::string_view extension_id) {
  if (extension_id == CM_BROKER_MESSAGES_ID) {
    return &kMessages;
  }
  return extension_id == CM_BROKER_DELIVERY_ID ? &kDelivery : nullptr;
}

}  // namespace cm::broker
