// Receives what eventveil publishes, with cppzmq and nlohmann/json (apt-get install cppzmq-dev nlohmann-json3-dev):
//   g++ -std=c++17 subscriber.cpp -lzmq -o subscriber && ./subscriber tcp://127.0.0.1:5556
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>
#include <zmq.hpp>
#include <zmq_addon.hpp>

constexpr int VERSION = 3;

int main(int argc, char** argv) {
    zmq::context_t context;
    zmq::socket_t socket(context, zmq::socket_type::sub);
    socket.connect(argc > 1 ? argv[1] : "tcp://127.0.0.1:5556");
    for (const char* topic : {"window", "gesture", "state"})  // state last: it announces the end
        socket.set(zmq::sockopt::subscribe, topic);

    while (true) {
        std::vector<zmq::message_t> frames;
        if (!zmq::recv_multipart(socket, std::back_inserter(frames)) || frames.size() != 3) continue;
        const std::string topic = frames[0].to_string();
        const auto header = nlohmann::json::parse(frames[1].to_string());
        if (header["version"] != VERSION) {
            std::cerr << "expected version " << VERSION << " of the wire format\n";
            return 1;
        }
        if (topic == "window") {  // (C, H, W), channel 2k + p
            std::vector<float> values(frames[2].size() / sizeof(float));
            std::memcpy(values.data(), frames[2].data(), values.size() * sizeof(float));
            std::cout << "window " << header["stream"].get<std::string>() << " " << header["seq"] << " "
                      << header["shape"] << " sum " << std::accumulate(values.begin(), values.end(), 0.0) << std::endl;
        } else if (topic == "gesture") {
            std::cout << "gesture " << header["stream"].get<std::string>() << " " << header["seq"] << " "
                      << (header["label"].is_null() ? "None" : header["label"].get<std::string>()) << std::endl;
        } else {
            const auto state = header["state"].get<std::string>();
            std::cout << "state " << state << std::endl;
            if (header["stream"].is_null() && (state == "ended" || state == "failed")) return 0;
        }
    }
}
